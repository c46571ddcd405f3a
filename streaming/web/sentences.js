/** What went wrong, for a person: what has happened, and what can be done. Pure. */

const SOURCE = {
  insecure: [
    "This page may not use the microphone.",
    "Browsers allow it only at an https address or on this same computer. You can still choose a file.",
  ],
  denied: [
    "The microphone is blocked.",
    "Allow it for this page: in the browser’s address bar, or in the system’s privacy settings. Then press Start again.",
  ],
  missing: ["No microphone was found.", "Plug one in, or choose a file."],
  busy: ["The microphone cannot be opened.", "Another program may be using it. Close that and press Start again."],
  lost: ["The microphone was disconnected.", "Everything up to here is kept. Plug it in and press Start to go on."],
  unsupported: ["This browser is too old for live audio.", "Update it, or use another one."],
  dropped: ["Some sound was not heard.", "Something could not keep up for a moment. The captions go on."],
  no_file: ["No file is chosen.", "Choose a sound or video file first."],
  undecodable: ["This file cannot be read as sound.", "It may be damaged, or of a kind this browser does not know. MP3, WAV and MP4 usually work."],
};

const SERVER = {
  config: ["The server cannot do this.", "Its model may lack this language or translation. Choose another language or task."],
  unauthorized: ["This server asks for an access token.", "Enter it below. Whoever runs the server can tell you."],
  origin: ["The server does not accept this page’s address.", "Open the page at the address that the server itself gives."],
  audio_format: ["The server cannot read this sound.", "Try another microphone or file."],
  engine: ["Recognition has failed.", "What was recognized is kept. Press Start to go on."],
  internal: ["The server made a mistake.", "What was recognized is kept. Press Start to go on."],
  unsupported_version: ["This page and the server do not match.", "Reload the page."],
  replaced: ["The captions go on in another window.", "Press Start to begin anew here."],
};

const LOST = {
  unreachable: "The server cannot be reached",
  silent: "The server does not answer",
  not_ready: "The server is still loading its model",
  too_many_sessions: "The server is busy with other people",
  too_many_connections: "The server asks to wait a little",
  stopping: "The server is being restarted",
  stopped: "The server is being restarted",
  overloaded: "The server cannot keep up",
};

/** Return what happened, what to do, and what the server itself said, if that may help. */
export function problem({ code, message }) {
  const [title, advice] = SOURCE[code] ?? SERVER[code] ?? ["The server has ended the captions.", "Press Start to go on."];
  return { title, advice, detail: code in SOURCE ? "" : message };
}

/** Why the connection is lost for the moment, in a few words. */
export function lostBecause(code) {
  return LOST[code] ?? "The connection was lost";
}
