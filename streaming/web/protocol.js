/** The messages of the WebSocket protocol, version 1. No I/O. docs/protocols/native.md describes them one by one. */

// Beside the page, which may stand under a prefix.
const STREAM = "v1/stream";
const MODEL = "v1/model";
const VERSION = 1;
const SOUND_VERSION = 1;
const SOUND_HEAD_BYTES = 8;

/** Close codes of ours: the session is given up, or will be come back to. */
export const CLOSE_FOR_GOOD = 1000;
export const CLOSE_TO_RETURN = 4000;

/** Left out where nothing is asked for: an older server does not know them. */
export function hello({ rate, language, task, targets = [], speech = [] }) {
  const format = { encoding: "s16le", rate, channels: 1 };
  const asked = { ...(targets.length && { targets }), ...(speech.length && { speech: speech.map(spokenName) }) };
  return JSON.stringify({ type: "hello", version: VERSION, format, language, task, ...asked });
}

export function resume(session, sentBytes, seen) {
  return JSON.stringify({ type: "hello", version: VERSION, resume: { session, sent_bytes: sentBytes, seen } });
}

export const choice = (targets) => JSON.stringify({ type: "targets", targets });
export const speechChoice = (speech) => JSON.stringify({ type: "speech", speech: speech.map(spokenName) });
export const end = () => JSON.stringify({ type: "end" });
export const ack = (seen) => JSON.stringify({ type: "ack", seen });

/** What is said is the text without a target. */
const spokenName = (target) => target || "transcript";

/** Read a binary message: sound behind a header. Null for a header of another version; throws when it is damaged. */
export function sound(buffer) {
  const view = new DataView(buffer);
  const [version, length] = [view.getUint32(0, true), view.getUint32(4, true)];
  if (version !== SOUND_VERSION) return null;
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, SOUND_HEAD_BYTES, length)));
  return { ...header, pcm: new Uint8Array(buffer, SOUND_HEAD_BYTES + length) };
}

/** The address of the server's stream. page: the address of this page; token: empty when none is known. */
export function streamUrl(page, token) {
  const url = addressed(STREAM, page, token);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** Where the server tells what its model can do. */
export const modelUrl = (page, token) => addressed(MODEL, page, token).href;

function addressed(path, page, token) {
  const url = new URL(path, page);
  if (token) url.searchParams.set("token", token);
  return url;
}
