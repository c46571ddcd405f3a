/** A file as 16-bit blocks, at the pace of speech or as fast as they are taken. It knows nothing of the server. */

import { SourceError } from "./microphone.js";
import { mixed, toInt16 } from "./pcm.js";

const RATE = 16_000;
const BLOCK_SAMPLES = RATE / 10;
const TICK_MS = 100;
const FAST_TICK_MS = 5;

export const Pace = Object.freeze({ ALOUD: "aloud", SILENT: "silent", FAST: "fast" });

export class Recording {
  #samples;
  #sound = null;
  #timer = 0;
  #position = 0;
  #began_ms = 0;

  /** Raises SourceError. */
  static async open(file, pace) {
    if (!file) throw new SourceError("no_file");
    try {
      // An offline context decodes without a device, and to the rate we want.
      const audio = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await file.arrayBuffer());
      const channels = Array.from({ length: audio.numberOfChannels }, (_, n) => audio.getChannelData(n));
      return new Recording(mixed(channels), file, pace);
    } catch (error) {
      throw new SourceError("undecodable", error.message);
    }
  }

  constructor(samples, file, pace) {
    this.#samples = samples;
    this.pace = pace;
    if (pace === Pace.ALOUD) this.#sound = new Audio(URL.createObjectURL(file));
  }

  get rate() {
    return RATE;
  }

  get duration_s() {
    return this.#samples.length / RATE;
  }

  /** onBlock receives an Int16Array, onEnd nothing; isFull: a function that tells whether to wait. */
  start(onBlock, onEnd, isFull) {
    this.#began_ms = performance.now();
    // The captions are worth having without the sound.
    this.#sound?.play().catch(() => {});
    const tick_ms = this.pace === Pace.FAST ? FAST_TICK_MS : TICK_MS;
    this.#timer = setInterval(() => this.#tick(onBlock, onEnd, isFull), tick_ms);
  }

  #tick(onBlock, onEnd, isFull) {
    while (this.#position < this.#samples.length && this.#isDue(isFull())) {
      const stop = this.#position + BLOCK_SAMPLES;
      onBlock(toInt16(this.#samples.subarray(this.#position, stop)));
      this.#position = Math.min(stop, this.#samples.length);
    }
    if (this.#position < this.#samples.length) return;
    this.stop();
    onEnd();
  }

  /** In real time a block is due once it has been spoken to its end. */
  #isDue(isFull) {
    if (this.pace === Pace.FAST) return !isFull;
    const spoken = ((performance.now() - this.#began_ms) / 1000) * RATE;
    return spoken >= Math.min(this.#position + BLOCK_SAMPLES, this.#samples.length);
  }

  stop() {
    clearInterval(this.#timer);
    if (!this.#sound) return;
    this.#sound.pause();
    URL.revokeObjectURL(this.#sound.src);
    this.#sound = null;
  }
}
