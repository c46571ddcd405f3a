/** A transcript as text, SubRip and WebVTT, cut into captions as the command line cuts them. Pure. */

const MAX_LINE_COLUMNS = 42;
const MAX_CUE_LINES = 2;
const MAX_CUE_MS = 7000;
const MIN_CUE_MS = 1000;
const MAX_PAUSE_MS = 800;
const SHORT_LETTERS = 3;
const UNUSED_PER_COST = 3;

const SENTENCE_END = /[.?!…。？！।؟]["'”’»)\]}」』）】]*$/u;
const CONTINUES = /^(?![\p{Ps}\p{Pi}])\p{P}/u;
// What belongs to the word before it, as in streaming/output/breaks.py.
const ENDS_IN_DIGIT = /\p{Nd}[.,:'’\-–/]*$/u;
const DIGIT = /^\p{Nd}/u;
const ENDS_IN_LETTER = /[\p{Lu}\p{Ll}\p{Lt}\p{Nd}\p{Sc}][-'’]*$/u;
const LETTER = /^[\p{Lu}\p{Ll}\p{Lt}\p{Nd}\p{Sc}]/u;
const THOUSANDS = /^[^\p{L}\p{N}_]*\p{Nd}{1,3}(?: \p{Nd}{3}){0,2}$/u;
const GROUP = /^ \p{Nd}{3}(?!\p{Nd})/u;
const UNIT = /^ [%‰€$£¥°]/u;
const ORDINAL = /(?:^|\s)\p{Nd}{1,2}\.\s*$/u;
const WITH_ORDINALS = new Set("bs cs da de et fi fo hr hu is lb lv nn no pl sk sl sr tr".split(" "));
const PUNCTUATION_ENDS = /\p{P}\s*$/u;
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

/** Cues in order that never overlap, as streaming/output/cues.py makes them; what is said there is not said again here. */
export function cues(words) {
  const closed = [];
  let open = [];

  function close(nPieces, nextStart_ms = Infinity) {
    const pieces = open.slice(0, nPieces);
    open = open.slice(nPieces);
    const start_ms = Math.max(pieces[0].start_ms, closed.at(-1)?.end_ms ?? 0);
    const shownUntil_ms = Math.min(start_ms + MIN_CUE_MS, nextStart_ms);
    const end_ms = Math.max(...pieces.map((piece) => piece.end_ms), shownUntil_ms, start_ms + 1);
    closed.push({ start_ms, end_ms: Math.min(end_ms, start_ms + MAX_CUE_MS), lines: brokenLines(pieces) });
  }

  function add(word) {
    let piece = { text: word.text, start_ms: milliseconds(word.start_s), end_ms: milliseconds(word.end_s) };
    const hasPaused = open.length > 0 && piece.start_ms - open.at(-1).end_ms > MAX_PAUSE_MS;
    if (open.length && isOfOne(open.at(-1).text, piece.text, hasPaused)) {
      const last = open.pop();
      piece = { ...last, text: last.text + piece.text, end_ms: Math.max(last.end_ms, piece.end_ms) };
    } else if (hasPaused) {
      close(open.length, piece.start_ms);
    }
    open.push(piece);
    while (open.length > 1 && !fits(open)) {
      const nFirst = bestCut(open);
      close(nFirst, open[nFirst].start_ms);
    }
    if (endsSentence(piece.text, word.language) && duration_ms(open) >= MIN_CUE_MS) close(open.length);
  }

  for (const word of words) {
    if (word.text.trim()) add(word);
    if (word.endsSpeech && open.length) close(open.length);
  }
  if (open.length) close(open.length);
  return closed;
}

function isOfOne(before, text, hasPaused) {
  const continues = CONTINUES.test(text) || (DIGIT.test(text) && ENDS_IN_DIGIT.test(before));
  if (continues || (LETTER.test(text) && ENDS_IN_LETTER.test(before))) return true;
  const isNumber = (GROUP.test(text) && THOUSANDS.test(before)) || (UNIT.test(text) && /\p{Nd}$/u.test(before));
  return isNumber && !hasPaused;
}

function endsSentence(text, language) {
  return !(WITH_ORDINALS.has(language) && ORDINAL.test(text)) && SENTENCE_END.test(text.trimEnd());
}

function fits(pieces) {
  return duration_ms(pieces) <= MAX_CUE_MS && countLines(pieces) <= MAX_CUE_LINES;
}

function bestCut(pieces) {
  const nMost = pieces.length - 1;
  const full = columns(joined(pieces.slice(0, nMost)));
  const unused = (n) => full - columns(joined(pieces.slice(0, n)));
  const cost = (n) => Math.floor(unused(n) / UNUSED_PER_COST) + breakCost(pieces[n - 1], pieces[n]);
  const steady = upTo(nMost).filter((n) => duration_ms(pieces.slice(0, n)) >= MIN_CUE_MS);
  return cheapest([nMost, ...steady.reverse()], cost);
}

function countLines(pieces) {
  let [nLines, nColumns] = [0, 0];
  for (const { text } of pieces) {
    if (nLines && nColumns + columns(text) <= MAX_LINE_COLUMNS) nColumns += columns(text);
    else [nLines, nColumns] = [nLines + 1, columns(text.trim())];
  }
  return nLines;
}

function brokenLines(pieces) {
  const lines = [];
  for (let nLeft = countLines(pieces); nLeft > 1; nLeft -= 1) {
    const n = bestBreak(pieces, nLeft);
    lines.push(joined(pieces.slice(0, n)));
    pieces = pieces.slice(n);
  }
  return [...lines, joined(pieces)];
}

function bestBreak(pieces, nLines) {
  const goal = Math.floor(columns(joined(pieces)) / nLines);
  const isPossible = (n) => countLines(pieces.slice(0, n)) === 1 && countLines(pieces.slice(n)) <= nLines - 1;
  const cost = (n) => Math.abs(columns(joined(pieces.slice(0, n))) - goal) + breakCost(pieces[n - 1], pieces[n]);
  return cheapest(upTo(pieces.length).filter(isPossible), cost);
}

function breakCost(before, after) {
  if (PUNCTUATION_ENDS.test(before.text)) return 0;
  if (!/^\s/u.test(after.text)) return 10;
  if ([...before.text.trim()].length <= SHORT_LETTERS) return 20;
  return [...after.text.trim()].length <= SHORT_LETTERS ? 6 : 10;
}

/** The numbers from 1 to n - 1. */
function upTo(n) {
  return Array.from({ length: n - 1 }, (_, i) => i + 1);
}

/** The first of those that cost least. */
function cheapest(choices, cost) {
  return choices.reduce((best, each) => (cost(each) < cost(best) ? each : best));
}

function joined(pieces) {
  return pieces.map((piece) => piece.text).join("").trim().replaceAll(/\s+/g, " ");
}

function duration_ms(pieces) {
  return pieces.at(-1).end_ms - pieces[0].start_ms;
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
