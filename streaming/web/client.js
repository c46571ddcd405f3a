/**
 * One recording sent to the server, over connections that come and go.
 *
 * A lost connection is followed by another that resumes the session: audio is sent again from where the server has it,
 * and every event is told once. When the session is lost too, a new one goes on with the audio that was kept.
 */

import { AudioBuffer } from "./audio_buffer.js";
import { Deduplicator } from "./deduplication.js";
import { CLOSE_FOR_GOOD, CLOSE_TO_RETURN, ack, choice, end, hello, resume, sound, speechChoice } from "./protocol.js";
import { After, RECOVERY, after } from "./recovery.js";

const PUMP_MS = 50;
const MOST_BUFFERED_BYTES = 65_536;
const BYTES_PER_SAMPLE = 2;

export const State = Object.freeze({ CONNECTING: "connecting", OPEN: "open", LOST: "lost", OVER: "over" });

export class Client {
  #settings;
  #url;
  #openSocket;
  #onEvent;
  #onState;
  #audio = new AudioBuffer();
  #recovery;
  #told;
  #socket = null;
  #session = "";
  #sessionStart = 0;
  #received = 0;
  #seen = 0;
  #acknowledged = 0;
  #nFailures = 0;
  // When the server was last there: at the first contact, and whenever an open connection is lost.
  #reachedAt_ms = -Infinity;
  #isGreeted = false;
  #isReady = false;
  #isEnded = false;
  #endSent = false;
  #state = State.CONNECTING;
  #retryTimer = 0;
  #silenceTimer = 0;
  #pumpTimer = 0;
  // Whether other targets than those of the greeting were chosen.
  #hasChosen = false;
  #hasChosenSpeech = false;
  #retry = () => this.#state === State.LOST && this.#connect();

  /**
   * settings: rate in Hz, model, language, task, targets and speech. onEvent hears the server's numbered events, onState
   * a state and, when the connection is lost or over by an error, its code and message; in_s: when it comes back, where
   * the server has said so. recovery: the table, or one like it.
   */
  constructor({ url, settings, onEvent, onState, recovery = RECOVERY, openSocket = (address) => new WebSocket(address) }) {
    this.#url = url;
    this.#recovery = recovery;
    this.#told = new Deduplicator(recovery);
    this.#settings = { targets: [], speech: [], ...settings };
    this.#told.choose(this.#settings.targets);
    this.#told.chooseSpeech(this.#settings.speech);
    this.#onEvent = onEvent;
    this.#onState = onState;
    this.#openSocket = openSocket;
    globalThis.addEventListener("online", this.#retry);
    this.#connect();
  }

  /** Send 16-bit samples as bytes; they wait while there is no connection. */
  write(bytes) {
    if (this.#isEnded || this.#state === State.OVER) return;
    this.#audio.write(bytes);
    if (this.#audio.keptBytes > this.#position(this.#recovery.most_kept_s)) this.#loseOldest();
    this.#pump();
  }

  /** Have what follows translated into these languages, by their codes. */
  chooseTargets(targets) {
    this.#settings.targets = [...targets];
    this.#told.choose(targets);
    this.#hasChosen = true;
    if (this.#isReady) this.#socket.send(choice(targets));
  }

  /** Have what follows of these texts spoken: codes of targets, or "" for what is said. */
  chooseSpeech(speech) {
    this.#settings.speech = [...speech];
    this.#told.chooseSpeech(speech);
    this.#hasChosenSpeech = true;
    if (this.#isReady) this.#socket.send(speechChoice(speech));
  }

  /** No audio follows; the last words are still told. */
  end() {
    this.#isEnded = true;
    this.#pump();
  }

  /** Leave at once, without the last words. */
  giveUp() {
    if (this.#state !== State.OVER) this.#stop();
  }

  get recorded_s() {
    return this.#seconds(this.#audio.end);
  }

  /** Audio that has not been acknowledged. */
  get pending_s() {
    return this.#seconds(this.#audio.end - this.#received);
  }

  /** Whether a source that can wait should. */
  get isFull() {
    return this.#seconds(this.#audio.unsentBytes) > this.#recovery.most_unsent_s;
  }

  // The connection

  #connect() {
    this.#leave(CLOSE_TO_RETURN);
    if (this.#state !== State.LOST) this.#enter(State.CONNECTING);
    const socket = this.#openSocket(this.#url);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#greet();
    socket.onmessage = ({ data }) => this.#read(data);
    socket.onclose = () => this.#lose("unreachable");
    this.#socket = socket;
    this.#expectNews();
  }

  #greet() {
    if (this.#reachedAt_ms === -Infinity) this.#reachedAt_ms = performance.now();
    const sent = this.#audio.cursor - this.#sessionStart;
    this.#isGreeted = true;
    this.#socket.send(this.#session ? resume(this.#session, sent, this.#seen) : hello(this.#settings));
  }

  /** Let go of the present socket, whose late messages then count for nothing. */
  #leave(code) {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#silenceTimer);
    clearTimeout(this.#pumpTimer);
    this.#isGreeted = this.#isReady = false;
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close(code);
    this.#socket = null;
  }

  /** The connection is lost, or was refused for now: come back. */
  #lose(code, message = "", retryAfter_s = null) {
    if (this.#isReady) this.#reachedAt_ms = performance.now();
    if (performance.now() - this.#reachedAt_ms > this.#recovery.patience_s * 1000) {
      this.#stop({ code, message });
      return;
    }
    this.#leave(CLOSE_TO_RETURN);
    const told_s = retryAfter_s === null ? null : this.#wait_s(retryAfter_s);
    this.#enter(State.LOST, { code, message, in_s: told_s });
    const delays_s = this.#recovery.delays_s;
    const delay_s = told_s ?? delays_s[Math.min(this.#nFailures, delays_s.length - 1)];
    this.#nFailures += 1;
    this.#retryTimer = setTimeout(this.#retry, delay_s * 1000);
  }

  /** How long to wait where the server has said so: not all who were told the same are to come at once. */
  #wait_s(told_s) {
    const { most_wait_s: most_s, spread } = this.#recovery;
    return Math.min(told_s, most_s) * (1 + spread * Math.random());
  }

  #stop(error = null) {
    this.#leave(CLOSE_FOR_GOOD);
    this.#enter(State.OVER, error);
  }

  #enter(state, error = null) {
    this.#state = state;
    if (state === State.OVER) globalThis.removeEventListener("online", this.#retry);
    this.#onState(state, error);
  }

  /** A server that owes an answer and says nothing for too long is taken for unreachable. */
  #expectNews() {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = setTimeout(() => this.#missNews(), this.#recovery.silent_s * 1000);
  }

  #missNews() {
    const isOwed = !this.#isReady || this.#isEnded || this.#audio.cursor > this.#received;
    if (isOwed) this.#lose("silent");
    else this.#expectNews();
  }

  // What the server says

  #read(data) {
    let message;
    try {
      message = typeof data === "string" ? JSON.parse(data) : sound(data);
    } catch {
      this.#stop({ code: "bad_json", message: "" });
      return;
    }
    this.#hear(message);
  }

  #hear(message) {
    this.#expectNews();
    if (message === null) return;
    if (message.type === "ready") this.#open(message);
    else if (message.type === "received") this.#noteReceived(message.received_bytes);
    else if (message.seq !== undefined) this.#take(message);
    else if (message.type === "error") this.#fail(message);
  }

  #open({ session, received_bytes: receivedBytes, has_end: hasEnd }) {
    this.#session = session;
    this.#audio.rewind(this.#sessionStart + receivedBytes);
    this.#received = this.#audio.cursor;
    this.#endSent = hasEnd;
    this.#isReady = true;
    this.#nFailures = 0;
    // What was chosen last may not have arrived.
    if (this.#hasChosen) this.#socket.send(choice(this.#settings.targets));
    if (this.#hasChosenSpeech) this.#socket.send(speechChoice(this.#settings.speech));
    this.#enter(State.OPEN);
    this.#pump();
  }

  #noteReceived(receivedBytes) {
    this.#received = this.#sessionStart + receivedBytes;
    const needed = this.#position(this.#told.neededFrom_s(this.#seconds(this.#received)));
    this.#audio.forget(Math.min(needed, this.#received));
  }

  #take(message) {
    if (message.seq <= this.#seen) return;
    if (message.seq !== this.#seen + 1) {
      this.#lose("gap");
      return;
    }
    this.#seen = message.seq;
    if (message.type === "error") {
      this.#fail(message);
      return;
    }
    this.#acknowledge(message.pcm !== undefined);
    const told = this.#told.told(message);
    if (told) this.#onEvent(told);
    if (message.type === "ended") this.#stop();
  }

  /** A server keeps what is not acknowledged, and sound is big. */
  #acknowledge(isSound) {
    if (!isSound && this.#seen - this.#acknowledged < this.#recovery.events_per_ack) return;
    this.#acknowledged = this.#seen;
    this.#socket.send(ack(this.#seen));
  }

  #fail({ code, message, retry_after_s: retryAfter_s = null }) {
    const then = after(code);
    if (then === After.STOP) {
      this.#stop({ code, message });
      return;
    }
    const isForgotten = then === After.RENEW && this.#session && !this.#isReady;
    if (then === After.RENEW) this.#startAnew();
    // The server is there, and would have to wait for nothing.
    if (isForgotten) this.#connect();
    else this.#lose(code, message, retryAfter_s);
  }

  /** Play the next session what was kept. */
  #startAnew() {
    this.#session = "";
    this.#seen = this.#acknowledged = 0;
    this.#sessionStart = this.#received = this.#audio.start;
    this.#audio.rewind(this.#audio.start);
    this.#told.startAnew(this.#seconds(this.#audio.start));
  }

  // Audio

  #pump() {
    clearTimeout(this.#pumpTimer);
    if (!this.#isReady) return;
    while (this.#audio.unsentBytes && this.#socket.bufferedAmount < MOST_BUFFERED_BYTES) {
      this.#socket.send(this.#audio.play());
    }
    if (this.#audio.unsentBytes) {
      this.#pumpTimer = setTimeout(() => this.#pump(), PUMP_MS);
    } else if (this.#isEnded && !this.#endSent) {
      this.#endSent = true;
      this.#socket.send(end());
    }
  }

  /** The server has been away, or behind, for longer than memory lasts. */
  #loseOldest() {
    const from_s = Math.max(this.#seconds(this.#audio.start), this.#told.heard_s);
    this.#audio.shorten(this.#position(this.#recovery.kept_when_full_s));
    this.#startAnew();
    const to_s = this.#seconds(this.#audio.start);
    if (from_s < to_s) this.#onEvent({ type: "dropped", from_s, to_s });
    // A connection that has not been greeted yet will be with a new session.
    if (this.#isGreeted) this.#lose("full");
  }

  #seconds(bytes) {
    return bytes / (BYTES_PER_SAMPLE * this.#settings.rate);
  }

  /** Returns a whole number of samples in bytes. */
  #position(seconds) {
    return BYTES_PER_SAMPLE * Math.round(seconds * this.#settings.rate);
  }
}
