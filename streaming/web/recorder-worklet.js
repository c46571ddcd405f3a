/** Runs on the audio thread: gathers samples and hands them over as 16-bit blocks of a tenth of a second. */

import { toInt16 } from "./pcm.js";

class Recorder extends AudioWorkletProcessor {
  #block = new Float32Array(Math.round(sampleRate / 10));
  #filled = 0;

  process([input]) {
    const samples = input[0];
    if (samples) this.#take(samples);
    return true;
  }

  #take(samples) {
    for (const sample of samples) {
      this.#block[this.#filled++] = sample;
      if (this.#filled === this.#block.length) this.#handOver();
    }
  }

  #handOver() {
    const { buffer } = toInt16(this.#block);
    this.port.postMessage(buffer, [buffer]);
    this.#filled = 0;
  }
}

registerProcessor("recorder", Recorder);
