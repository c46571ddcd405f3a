/** A text as a file. */

import { FORMATS } from "./subtitles.js";

/** savedNow: returns the words of the text that is to be saved, and the code of the language it was translated into. */
export function setUpDownloads(buttons, savedNow) {
  for (const button of buttons) {
    button.addEventListener("click", () => save(savedNow(), button.dataset.format));
  }
}

function save({ words, target }, format) {
  const { type, write } = FORMATS[format];
  const url = URL.createObjectURL(new Blob([write(words)], { type: `${type};charset=utf-8` }));
  const link = document.createElement("a");
  link.href = url;
  link.download = `captions-${timestamp(new Date())}${target && `-${target}`}.${format}`;
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
