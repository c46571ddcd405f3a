/** One recording from Start to its last word: a source feeds a client, and what the client hears is told. No page. */

import { Client, State } from "./client.js";
import { Delay } from "./delay.js";
import { Microphone, SourceError } from "./microphone.js";
import { peak } from "./pcm.js";
import { Pace, Recording } from "./recording.js";
import { RECOVERY } from "./recovery.js";

// A person sees that the server is away, and may stop; what is spoken meanwhile is kept.
const WHILE_SOMEBODY_WAITS = { ...RECOVERY, patience_s: Infinity };

export class Listening {
  #source;
  #client = null;
  #delay = new Delay();
  #told;
  #isOver = false;
  #heard_s = 0;

  /** choices: as `Controls` tells them, and targets. told: functions `event`, `state`, `level` and `sourceEnded`. */
  static async open(choices, url, told) {
    const { source, deviceId, file, pace } = choices;
    const opened = source === "file" ? await Recording.open(file, pace) : await Microphone.open(deviceId);
    const listening = new Listening(opened, told);
    await listening.#start(choices, url);
    return listening;
  }

  constructor(source, told) {
    this.#source = source;
    this.#told = told;
  }

  async #start({ model, language, task, targets, speech }, url) {
    this.#client = new Client({
      url,
      settings: { rate: this.#source.rate, model, language, task, targets, speech },
      recovery: WHILE_SOMEBODY_WAITS,
      onEvent: (event) => this.#hear(event),
      onState: (state, error) => this.#follow(state, error),
    });
    try {
      await this.#source.start((block) => this.#feed(block), () => this.#runDry(), () => this.#client.isFull);
    } catch (error) {
      // The server was quicker to refuse, and has been told of.
      if (this.#isOver) return;
      this.giveUp();
      throw new SourceError("unsupported", error.message);
    }
  }

  /** No more audio; the last words still come. */
  finish() {
    this.#source.stop();
    this.#client.end();
  }

  /** Have what follows translated into these languages. */
  chooseTargets(targets) {
    this.#client.chooseTargets(targets);
  }

  /** Have what follows of these texts spoken. */
  chooseSpeech(speech) {
    this.#client.chooseSpeech(speech);
  }

  /** Do not wait for the last words. */
  giveUp() {
    this.#source.stop();
    this.#client.giveUp();
  }

  get recorded_s() {
    return this.#client?.recorded_s ?? 0;
  }

  /** How far it is: as recorded, or as decoded where that is waited for. */
  get position_s() {
    return this.#source.pace === Pace.FAST ? this.#heard_s : this.recorded_s;
  }

  get pending_s() {
    return this.#client.pending_s;
  }

  /** Null for a microphone. */
  get duration_s() {
    return this.#source.duration_s ?? null;
  }

  /** Null when it is not known, or nothing is spoken at the pace of speech. */
  get delay_s() {
    return this.#source.pace === Pace.FAST ? null : this.#delay.median_s;
  }

  #feed(block) {
    this.#told.level(peak(block));
    this.#client.write(new Uint8Array(block.buffer));
  }

  #runDry() {
    const isLost = this.#source instanceof Microphone;
    this.finish();
    this.#told.sourceEnded(isLost ? new SourceError("lost") : null);
  }

  #hear(event) {
    if (event.type === "words") this.#delay.add(event.words, this.recorded_s);
    this.#heard_s = event.heard_s ?? event.audio_s ?? this.#heard_s;
    this.#told.event(event);
  }

  #follow(state, error) {
    if (state === State.OVER) {
      this.#isOver = true;
      this.#source.stop();
    }
    this.#told.state(state, error);
  }
}
