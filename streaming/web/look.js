/** How the page looks: theme, size of the captions, full screen. */

const SIZES = [1.25, 1.6, 2, 2.5, 3.2, 4, 5];
const MIDDLE = 3;

export function setUpLook({ theme, smaller, larger, fullScreen, leaveFullScreen }, onResize) {
  const root = document.documentElement;

  theme.addEventListener("click", () => {
    root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  });

  let size = clampSize(Number(localStorage.getItem("size") ?? MIDDLE));
  function resize(step) {
    size = clampSize(size + step);
    localStorage.setItem("size", size);
    root.style.setProperty("--caption-rem", SIZES[size]);
    smaller.disabled = size === 0;
    larger.disabled = size === SIZES.length - 1;
    onResize();
  }
  smaller.addEventListener("click", () => resize(-1));
  larger.addEventListener("click", () => resize(1));
  resize(0);

  fullScreen.addEventListener("click", () => enterFullScreen(root, leaveFullScreen));
  leaveFullScreen.addEventListener("click", () => leave(root, fullScreen));
  document.addEventListener("fullscreenchange", () => document.fullscreenElement || leave(root, fullScreen));
  document.addEventListener("keydown", ({ key }) => key === "Escape" && leave(root, fullScreen));
}

/** Where the browser has no full screen, as on some phones, the captions still get the whole page. */
function enterFullScreen(root, leaveButton) {
  root.dataset.captionsOnly = "";
  root.requestFullscreen?.().catch(() => {});
  leaveButton.focus();
}

function leave(root, enterButton) {
  if (!("captionsOnly" in root.dataset)) return;
  delete root.dataset.captionsOnly;
  if (document.fullscreenElement) document.exitFullscreen();
  enterButton.focus();
}

function clampSize(size) {
  return Math.max(0, Math.min(SIZES.length - 1, Math.round(size) || 0));
}
