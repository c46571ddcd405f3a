/** The microphone as 16-bit blocks. It knows nothing of the server. */

const RATE = 16_000;
// Clean speech is what the model knows; only the loudness is evened out.
const CONSTRAINTS = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };

/** A reason in a word: insecure, denied, missing, busy, lost or unsupported. */
export class SourceError extends Error {
  constructor(code, detail = "") {
    super(detail || code);
    this.code = code;
  }
}

const REASONS = {
  NotAllowedError: "denied",
  SecurityError: "insecure",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};

export class Microphone {
  #stream;
  #context;
  #input;

  /** deviceId: "" for the system's choice. Raises SourceError. */
  static async open(deviceId) {
    if (!navigator.mediaDevices?.getUserMedia) throw new SourceError("insecure");
    if (!globalThis.AudioWorkletNode) throw new SourceError("unsupported");
    const audio = deviceId ? { ...CONSTRAINTS, deviceId: { exact: deviceId } } : CONSTRAINTS;
    try {
      return new Microphone(await navigator.mediaDevices.getUserMedia({ audio }));
    } catch (error) {
      throw new SourceError(REASONS[error.name] ?? "busy", error.message);
    }
  }

  constructor(stream) {
    this.#stream = stream;
    try {
      this.#context = new AudioContext({ sampleRate: RATE });
      this.#input = this.#context.createMediaStreamSource(stream);
    } catch {
      // Some browsers do not resample a microphone; the server does.
      this.#context = new AudioContext();
      this.#input = this.#context.createMediaStreamSource(stream);
    }
  }

  get rate() {
    return this.#context.sampleRate;
  }

  /** onBlock receives an Int16Array; onLost is called when the device goes away. */
  async start(onBlock, onLost) {
    await this.#context.audioWorklet.addModule(new URL("recorder-worklet.js", import.meta.url));
    const mono = { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" };
    const recorder = new AudioWorkletNode(this.#context, "recorder", mono);
    recorder.port.onmessage = ({ data }) => onBlock(new Int16Array(data));
    this.#stream.getAudioTracks()[0].onended = onLost;
    this.#input.connect(recorder);
    await this.#context.resume();
  }

  stop() {
    for (const track of this.#stream.getTracks()) {
      track.onended = null;
      track.stop();
    }
    if (this.#context.state !== "closed") this.#context.close();
  }
}

/** The microphones by id and name; names are known only once one was allowed. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices.filter(({ kind, deviceId, label }) => kind === "audioinput" && deviceId && label);
}
