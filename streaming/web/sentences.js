/** What went wrong, for a person: what has happened, and what can be done. Pure. */

const SOURCE = {
  insecure: [
    "The browser does not let this page use the microphone.",
    "Browsers allow it only on https pages and at this computer’s own address. You can still choose a file.",
  ],
  denied: [
    "The microphone is blocked.",
    "Allow it in the browser’s address bar, or in the system’s privacy settings. Then press Start again.",
  ],
  missing: ["No microphone was found.", "Plug one in, or choose a file."],
  busy: ["The microphone cannot be opened.", "Another program may be using it. Close it and press Start again."],
  lost: ["The microphone was disconnected.", "The captions so far are kept. Plug it back in and press Start to continue."],
  unsupported: ["This browser is too old for live audio.", "Update it, or use another one."],
  dropped: ["Some audio was lost.", "The server could not keep up. The captions continue, with a gap."],
  cut_short: ["Some words may be missing.", "This passage took the server too long. The captions continue."],
  no_file: ["No file is chosen.", "Choose an audio or video file first."],
  undecodable: [
    "This file could not be read as audio.",
    "It may be damaged, or of a kind that this browser does not know. MP3, WAV and MP4 usually work.",
  ],
};

const MISMATCH = ["This page does not match the server.", "Reload the page."];
const ADDRESS = ["The server does not accept this page’s address.", "Open the page at the address that the server printed when it started."];
const SERVER = {
  config: ["The server cannot do this.", "Its model may not know this language, or not translate. Choose something else."],
  unauthorized: ["This server asks for an access token.", "Enter it below. Whoever runs the server knows it."],
  host: ADDRESS,
  origin: ADDRESS,
  audio_format: ["The server could not read the audio.", "Try another microphone or file."],
  engine: ["Speech recognition failed.", "The captions so far are kept. Press Start to continue."],
  internal: ["Something went wrong on the server.", "The captions so far are kept. Press Start to continue."],
  unsupported_version: MISMATCH,
  bad_json: MISMATCH,
  replaced: ["These captions continue in another window.", "Press Start to begin again here."],
};

const LOST = {
  unreachable: "The server cannot be reached",
  silent: "The server does not answer",
  full: "The server cannot keep up",
  not_ready: "The server is still loading its model",
  too_many_sessions: "The server is full",
  too_many_connections: "The server gets too many connections",
  stopping: "The server is restarting",
  stopped: "The server is restarting",
  overloaded: "The server cannot keep up",
};

/** Return what happened, what to do, and what the server itself said, if that may help. */
export function problem({ code, message }) {
  const [title, advice] = SOURCE[code] ?? SERVER[code] ?? ["The server ended the session.", "Press Start to continue."];
  return { title, advice, detail: code in SOURCE ? "" : message };
}

/** What was not translated, as an event of the server tells it. */
export function notTranslated({ from_s, to_s, why }) {
  return `${Math.max(1, Math.round(to_s - from_s))} s not translated: ${why}`;
}

/** What is read and not heard, as an event of the server tells it. */
export function notSpoken({ from_s, to_s, why }) {
  return `${Math.max(1, Math.round(to_s - from_s))} s not spoken: ${why}`;
}

/** Why the connection is lost for the moment, in a few words. */
export function lostBecause(code) {
  return LOST[code] ?? "The connection was lost";
}
