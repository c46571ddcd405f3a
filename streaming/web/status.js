/** The line that says how things are: connection, delay, time, level. */

import { State } from "./client.js";
import { lostBecause } from "./sentences.js";

const WORDS = {
  idle: "Ready",
  finishing: "Finishing…",
  [State.CONNECTING]: "Connecting…",
  [State.OPEN]: "Live",
  [State.LOST]: "Reconnecting…",
};
const WAITING = {
  not_ready: "Loading the model…",
  unreachable: "The server cannot be reached",
  unauthorized: "An access token is needed",
};

export class Status {
  #elements;

  /** elements: connection, delay, time, meter, notice. */
  constructor(elements) {
    this.#elements = elements;
  }

  /** state: one of State, idle, waiting or finishing; code: why the connection is lost, or what is waited for; in_s: until when. */
  show(state, code = "", in_s = null) {
    const { connection, notice } = this.#elements;
    connection.dataset.state = state;
    this.#write(connection, state === "waiting" ? WAITING[code] : WORDS[state]);
    notice.hidden = state !== State.LOST;
    if (state === State.LOST) this.#write(notice.firstElementChild, `${lostBecause(code)}; trying again${in_s === null ? "" : ` in ${Math.ceil(in_s)} s`}.`);
  }

  /** Called several times a second. pending_s: audio that waits for the connection. */
  update({ position_s, duration_s, delay_s, pending_s }) {
    const { connection, delay, time, notice } = this.#elements;
    const total = duration_s === null ? "" : ` / ${clock(duration_s)}`;
    this.#write(time, clock(position_s) + total);
    // What it was before the connection was lost says nothing of how late the captions are now.
    const isUnknown = delay_s === null || connection.dataset.state === State.LOST;
    this.#write(delay, isUnknown ? "" : `${delay_s.toFixed(1)} s delay`);
    const kept = `The last ${Math.round(pending_s)} s of audio are kept; the captions will catch up.`;
    this.#write(notice.lastElementChild, pending_s < 1 ? "" : kept);
  }

  /** level: 0 to 1. */
  level(level) {
    this.#elements.meter.style.setProperty("--level", Math.min(1, Math.sqrt(level)).toFixed(2));
  }

  /** Writing the same again would make screen readers repeat it. */
  #write(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }
}

function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const twoDigits = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${twoDigits(minutes)}:${twoDigits(rest)}` : `${minutes}:${twoDigits(rest)}`;
}
