/** How long after being spoken words come: the median of the last ones. Pure. */

import { isSpoken } from "./transcript.js";

const LAST_WORDS = 12;

export class Delay {
  #delays_s = [];

  /** words have come; recorded_s: how much had been recorded by then. */
  add(words, recorded_s) {
    const delays_s = words.filter(isSpoken).map((word) => Math.max(0, recorded_s - word.end_s));
    this.#delays_s = [...this.#delays_s, ...delays_s].slice(-LAST_WORDS);
  }

  /** Null before the first word. */
  get median_s() {
    const sorted = [...this.#delays_s].sort((one, other) => one - other);
    return sorted[Math.floor(sorted.length / 2)] ?? null;
  }
}
