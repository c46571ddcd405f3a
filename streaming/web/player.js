/**
 * Plays what is spoken, one sound after another; when it is behind, faster. It knows nothing of the server.
 *
 * An audio element and not an audio context: it can play faster without speaking higher.
 */

// Behind by so much, it hurries; behind by more than that, the oldest is left out.
const HURRY_S = 4;
const MOST_S = 45;
const HURRY_RATE = 1.25;
const HEADER_BYTES = 44;
const BYTES_PER_SAMPLE = 2;

export class Player {
  #element;
  #waiting = [];
  #playing = null;
  #onSkip;

  /** onSkip: hears how many seconds were left out. element: an audio element, used for everything that is played. */
  constructor(onSkip, element = new Audio()) {
    this.#element = element;
    this.#onSkip = onSkip;
    element.addEventListener("ended", () => this.#next());
    element.addEventListener("error", () => this.#playing && this.#next());
  }

  set volume(volume) {
    this.#element.volume = volume;
  }

  /** How much of it waits to be heard. */
  get behind_s() {
    const rest_s = this.#playing ? Math.max(0, this.#playing.duration_s - this.#element.currentTime) : 0;
    return this.#waiting.reduce((sum, { duration_s }) => sum + duration_s, rest_s);
  }

  /** pcm: Uint8Array of 16-bit samples. */
  play({ pcm, rate }) {
    const duration_s = pcm.length / BYTES_PER_SAMPLE / rate;
    if (duration_s === 0) return;
    this.#waiting.push({ duration_s, url: URL.createObjectURL(wave(pcm, rate)) });
    let skipped_s = 0;
    while (this.behind_s > MOST_S && this.#waiting.length > 1) skipped_s += this.#drop(this.#waiting.shift());
    if (skipped_s) this.#onSkip(skipped_s);
    if (this.#playing) this.#pace();
    else this.#next();
  }

  /** Be silent at once; what waits is not heard any more. */
  stop() {
    for (const sound of this.#waiting.splice(0)) this.#drop(sound);
    this.#next();
  }

  #next() {
    const before = this.#playing;
    this.#playing = this.#waiting.shift() ?? null;
    this.#element.pause();
    if (this.#playing) {
      this.#element.src = this.#playing.url;
    } else {
      this.#element.removeAttribute("src");
      this.#element.load();
    }
    // Only now: a browser complains of what it cannot find any more.
    if (before) this.#drop(before);
    if (!this.#playing) return;
    this.#pace();
    // A browser that lets nothing be heard before a click has had one: Start.
    this.#element.play().catch((error) => error.name === "NotAllowedError" && this.stop());
  }

  #pace() {
    this.#element.playbackRate = this.behind_s > HURRY_S ? HURRY_RATE : 1;
  }

  #drop({ url, duration_s }) {
    URL.revokeObjectURL(url);
    return duration_s;
  }
}

function wave(pcm, rate) {
  const head = new DataView(new ArrayBuffer(HEADER_BYTES));
  const ascii = (at, text) => [...text].forEach((letter, n) => head.setUint8(at + n, letter.charCodeAt(0)));
  ascii(0, "RIFF");
  head.setUint32(4, HEADER_BYTES - 8 + pcm.length, true);
  ascii(8, "WAVEfmt ");
  head.setUint32(16, 16, true);
  head.setUint16(20, 1, true);
  head.setUint16(22, 1, true);
  head.setUint32(24, rate, true);
  head.setUint32(28, rate * BYTES_PER_SAMPLE, true);
  head.setUint16(32, BYTES_PER_SAMPLE, true);
  head.setUint16(34, 8 * BYTES_PER_SAMPLE, true);
  ascii(36, "data");
  head.setUint32(40, pcm.length, true);
  return new Blob([head, pcm], { type: "audio/wav" });
}
