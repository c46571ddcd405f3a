/**
 * What has been told already, in seconds since the recording began, over sessions that each count from 0. Pure.
 *
 * A session that takes the place of a lost one hears some audio again, so that it begins at a pause or well before the
 * seam; what it says of that audio is passed over.
 */

import { RECOVERY } from "./recovery.js";
import { isSpoken } from "./transcript.js";

export class Deduplicator {
  #recovery;
  #sessionStart_s = 0;
  #lastWord_s = 0;
  #silence_s = 0;
  #toldBefore_s = 0;
  #isCatchingUp = false;
  #last = null;
  #hasLast = false;

  constructor(recovery = RECOVERY) {
    this.#recovery = recovery;
  }

  /** Return a session's event with its times set right; null for what is known. */
  told(event) {
    const shifted = this.#shifted(event);
    if (event.type === "words") return this.#newWords(shifted);
    if (event.type === "draft" && this.#isCatchingUp) return null;
    // A pause that is heard again is no news, and no word after it is taken back.
    if (event.type === "speech_ended" && shifted.at_s > this.#toldBefore_s) {
      this.#silence_s = Math.max(this.#silence_s, shifted.at_s);
      this.#lastWord_s = Math.min(this.#lastWord_s, shifted.at_s);
    }
    return shifted;
  }

  /** A new session hears the audio from here. */
  startAnew(from_s) {
    this.#sessionStart_s = from_s;
    this.#toldBefore_s = this.#lastWord_s;
    this.#isCatchingUp = from_s < this.#lastWord_s;
    this.#hasLast = false;
  }

  /** From where audio must be kept, so that another session could be played it; received_s: what this one has. */
  neededFrom_s(received_s) {
    const beforeWord_s = this.#lastWord_s - this.#recovery.before_word_s;
    return Math.max(this.#silence_s, beforeWord_s, received_s - this.#recovery.after_receipt_s);
  }

  /** Up to where all has been told for certain: the last word, or the pause after it. */
  get heard_s() {
    return Math.max(this.#silence_s, this.#lastWord_s);
  }

  #newWords(event) {
    const words = this.#unknown(event.words);
    if (words.length === 0) return null;
    this.#isCatchingUp = false;
    this.#last = words.findLast(isSpoken) ?? this.#last;
    this.#lastWord_s = Math.max(this.#lastWord_s, ...words.map((word) => word.end_s));
    return { ...event, words };
  }

  /** Return the words that have not been told: those after the last one, which may be heard later than before. */
  #unknown(words) {
    for (const [n, word] of words.entries()) {
      const isLast = this.#isCatchingUp && this.#last !== null && this.#areSame(word, this.#last);
      if ((word.start_s + word.end_s) / 2 > this.#toldBefore_s) {
        return this.#withoutKnownMarks(words.slice(isLast && !this.#hasLast ? n + 1 : n));
      }
      this.#hasLast ||= isLast;
    }
    return [];
  }

  #areSame(word, other) {
    const [text, before] = [word, other].map((each) => each.text.replace(/^[ .,?!]+|[ .,?!]+$/g, "").toLowerCase());
    return text === before && Math.abs(word.start_s - other.start_s) <= this.#recovery.same_word_s;
  }

  /** Punctuation that comes first belongs to a word that is known, and so may be known too. */
  #withoutKnownMarks(words) {
    if (!this.#isCatchingUp) return words;
    const n = words.findIndex(isSpoken);
    return n < 0 ? [] : words.slice(n);
  }

  #shifted(event) {
    const shifted = withTimes(event, this.#sessionStart_s);
    return event.words ? { ...shifted, words: event.words.map((word) => withTimes(word, this.#sessionStart_s)) } : shifted;
  }
}

function withTimes(record, by_s) {
  const entries = Object.entries(record);
  return Object.fromEntries(entries.map(([key, value]) => [key, key.endsWith("_s") ? value + by_s : value]));
}
