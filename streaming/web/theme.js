// Runs before the first paint, so that a dark room sees no white flash. The rest of the page comes as modules.
(() => {
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem("theme");

  function apply() {
    document.documentElement.dataset.theme = chosen() ?? (systemIsDark.matches ? "dark" : "light");
  }

  systemIsDark.addEventListener("change", apply);
  apply();
})();
