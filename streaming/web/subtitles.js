/** A transcript as text, SubRip and WebVTT, cut into captions as the command line cuts them. Pure. */

const MAX_LINE_COLUMNS = 42;
const MAX_CUE_LINES = 2;
const MAX_CUE_MS = 6000;
const MAX_PAUSE_MS = 800;

const SENTENCE_END = /[.?!…。？！।؟]["'”’»)\]}」』）】]*$/u;
const CONTINUES = /^(?![\p{Ps}\p{Pi}])\p{P}/u;
const COMBINING = /\p{Mn}/u;
const WIDE = /[\p{sc=Han}\p{sc=Hiragana}\p{sc=Katakana}\p{sc=Hangul}\u3000-\u303e\uff01-\uff60\uffe0-\uffe6]/u;

export const FORMATS = Object.freeze({
  txt: { type: "text/plain", write: asText },
  srt: { type: "application/x-subrip", write: asSrt },
  vtt: { type: "text/vtt", write: asVtt },
});

function asText(words) {
  const text = words.map((word) => word.text + (word.endsParagraph ? "\n\n" : "")).join("");
  return `${text.trim().replaceAll(/\n +/g, "\n")}\n`;
}

function asSrt(words) {
  const written = ({ start_ms, end_ms, lines }, n) => {
    const times = `${clock(start_ms)} --> ${clock(end_ms)}`.replaceAll(".", ",");
    return `${n + 1}\n${times}\n${lines.join("\n")}\n\n`;
  };
  return cues(words).map(written).join("");
}

function asVtt(words) {
  const escaped = (line) => line.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const written = ({ start_ms, end_ms, lines }, n) =>
    `${n + 1}\n${clock(start_ms)} --> ${clock(end_ms)}\n${lines.map(escaped).join("\n")}\n\n`;
  return `WEBVTT\n\n${cues(words).map(written).join("")}`;
}

/** Cues in order, that last a millisecond or longer and never overlap. */
export function cues(words) {
  const closed = [];
  let open = [];

  function close() {
    if (open.length === 0) return;
    const start_ms = Math.max(milliseconds(open[0].start_s), closed.at(-1)?.end_ms ?? 0);
    const end_ms = Math.max(...open.map((word) => milliseconds(word.end_s)), start_ms + 1);
    closed.push({ start_ms, end_ms, lines: wrapped(open) });
    open = [];
  }

  for (const word of words) {
    if (word.text.trim()) {
      if (open.length && !fits(open, word)) close();
      open.push(word);
    }
    if (word.endsSpeech || SENTENCE_END.test(word.text.trimEnd())) close();
  }
  close();
  return closed;
}

function fits(open, word) {
  if (CONTINUES.test(word.text)) return true;
  return (
    milliseconds(word.start_s - open.at(-1).end_s) <= MAX_PAUSE_MS &&
    milliseconds(word.end_s - open[0].start_s) <= MAX_CUE_MS &&
    wrapped([...open, word]).length <= MAX_CUE_LINES
  );
}

function wrapped(words) {
  const lines = [""];
  for (const word of words) {
    const line = lines.at(-1) + word.text;
    if (lines.at(-1) && !CONTINUES.test(word.text) && columns(line) > MAX_LINE_COLUMNS) lines.push("");
    lines[lines.length - 1] = (lines.at(-1) + word.text).trim().replaceAll(/\s+/g, " ");
  }
  return lines;
}

function columns(text) {
  return [...text].reduce((sum, char) => sum + (COMBINING.test(char) ? 0 : WIDE.test(char) ? 2 : 1), 0);
}

function milliseconds(seconds) {
  return Math.round(seconds * 1000);
}

function clock(total_ms) {
  const parts = [total_ms / 3_600_000, (total_ms / 60_000) % 60, (total_ms / 1000) % 60];
  const [hours, minutes, seconds] = parts.map((part) => String(Math.floor(part)).padStart(2, "0"));
  return `${hours}:${minutes}:${seconds}.${String(total_ms % 1000).padStart(3, "0")}`;
}
