/** What was said, in passages, and where a new paragraph begins. Times count from the first recording. Pure. */

const LONG_PAUSE_S = 2;
const LONG_PARAGRAPH_CHARS = 320;
const SENTENCE_END = /[.?!…。？！।؟]["'”’»)\]}」』）】]*$/u;

/** Whether a word has a sound; punctuation that was decided after its word has none. */
export function isSpoken(word) {
  return /[\p{L}\p{N}]/u.test(word.text);
}

export class Transcript {
  /** Words with `endsSpeech` where silence followed, and `endsParagraph`. */
  words = [];
  #paragraphChars = 0;
  #isParagraphDue = false;

  /** Whether the next words, or their draft, begin a paragraph. */
  get isParagraphDue() {
    return this.#isParagraphDue;
  }

  get end_s() {
    return this.words.at(-1)?.end_s ?? 0;
  }

  add(words) {
    if (this.#isParagraphDue) this.#beginParagraph();
    for (const word of words) {
      this.words.push({ ...word });
      this.#paragraphChars += word.text.length;
    }
    this.#isParagraphDue = this.#paragraphChars > LONG_PARAGRAPH_CHARS && SENTENCE_END.test(this.words.at(-1).text);
  }

  /** Speech was heard again; known before its first words are, so that these need not move. */
  startSpeech(at_s) {
    if (this.words.length && at_s - this.end_s > LONG_PAUSE_S) this.#isParagraphDue = true;
  }

  /** Whatever follows is apart from what was said so far. */
  breakOff() {
    this.#isParagraphDue = true;
  }

  endSpeech() {
    if (this.words.length) this.words.at(-1).endsSpeech = true;
  }

  /** Another recording follows. */
  endRecording() {
    this.endSpeech();
    this.#isParagraphDue = this.words.length > 0;
  }

  clear() {
    this.words = [];
    this.#paragraphChars = 0;
    this.#isParagraphDue = false;
  }

  #beginParagraph() {
    if (this.words.length) this.words.at(-1).endsParagraph = true;
    this.#paragraphChars = 0;
  }
}
