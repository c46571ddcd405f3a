/** The transcript as a file. */

import { FORMATS } from "./subtitles.js";

export function setUpDownloads(buttons, wordsNow) {
  for (const button of buttons) {
    button.addEventListener("click", () => save(wordsNow(), button.dataset.format));
  }
}

function save(words, format) {
  const { type, write } = FORMATS[format];
  const url = URL.createObjectURL(new Blob([write(words)], { type: `${type};charset=utf-8` }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `captions-${timestamp(new Date())}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** Local time, such as 2025-01-31-0915. */
function timestamp(date) {
  const parts = [date.getFullYear(), date.getMonth() + 1, date.getDate()];
  const time = [date.getHours(), date.getMinutes()].map(twoDigits).join("");
  return [...parts.map(twoDigits), time].join("-");
}

const twoDigits = (number) => String(number).padStart(2, "0");
