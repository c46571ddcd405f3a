/**
 * What has been told already, in seconds since the recording began, over sessions that each count from 0. Pure.
 *
 * A session that takes the place of a lost one hears some audio again, so that it begins at a pause or well before the
 * seam; what it says of that audio is passed over.
 */

import { RECOVERY } from "./recovery.js";
import { isSpoken } from "./transcript.js";

/** What has been told of the transcript, or of one translation. told_s: up to where, since the recording began. */
class Text {
  #sameWord_s;
  #last = null;
  #hasLast = false;
  // Whether a mark was told after the last word.
  #isMarked = false;
  isCatchingUp = false;
  told_s;
  toldBefore_s;

  constructor(sameWord_s, told_s = 0) {
    this.#sameWord_s = sameWord_s;
    this.told_s = this.toldBefore_s = told_s;
  }

  /** A new session hears the audio from here. */
  startAnew(from_s) {
    this.toldBefore_s = this.told_s;
    this.isCatchingUp = from_s < this.told_s;
    this.#hasLast = false;
  }

  /** Return the words that have not been told, which count as told from now on. */
  new(words) {
    const unknown = this.#unknown(words);
    if (unknown.length === 0) return unknown;
    this.isCatchingUp = false;
    this.#last = unknown.findLast(isSpoken) ?? this.#last;
    this.#isMarked = !/[\p{L}\p{N}]$/u.test(unknown.at(-1).text.trimEnd());
    this.told_s = Math.max(this.told_s, ...unknown.map((word) => word.end_s));
    return unknown;
  }

  /** Those after the last one that was told, which may be heard later than before. */
  #unknown(words) {
    for (const [n, word] of words.entries()) {
      const isLast = this.isCatchingUp && this.#last !== null && this.#areSame(word, this.#last);
      if ((word.start_s + word.end_s) / 2 > this.toldBefore_s) {
        return this.#withoutKnownMarks(words.slice(isLast && !this.#hasLast ? n + 1 : n));
      }
      this.#hasLast ||= isLast;
    }
    return [];
  }

  #areSame(word, other) {
    const [text, before] = [word, other].map((each) => each.text.replace(/^[ .,?!]+|[ .,?!]+$/g, "").toLowerCase());
    return text === before && Math.abs(word.start_s - other.start_s) <= this.#sameWord_s;
  }

  /** Punctuation that comes first belongs to a word that is known, and is known too if that had a mark. */
  #withoutKnownMarks(words) {
    if (!this.isCatchingUp || !this.#isMarked) return words;
    const n = words.findIndex(isSpoken);
    return n < 0 ? [] : words.slice(n);
  }
}

/** What has been spoken of one text. spoken_s: up to where, since the recording began. */
class Sound {
  constructor(spoken_s) {
    this.spoken_s = this.spokenBefore_s = spoken_s;
  }

  /** Whether a sentence, or a part of one, has not been spoken to its end; it counts as spoken when it has. */
  isNew(start_s, end_s, isWhole) {
    if ((start_s + end_s) / 2 <= this.spokenBefore_s) return false;
    if (isWhole) this.spoken_s = Math.max(this.spoken_s, end_s);
    return true;
  }
}

export class Deduplicator {
  #recovery;
  #sessionStart_s = 0;
  #silence_s = 0;
  #words;
  // By target; of those that are not chosen any more, nothing is waited for.
  #translations = new Map();
  #targets = [];
  #sounds = new Map();
  #speech = [];

  constructor(recovery = RECOVERY) {
    this.#recovery = recovery;
    this.#words = this.#text();
  }

  /** What follows is translated into these languages. */
  choose(targets) {
    for (const target of targets) {
      // What was heard before is not translated, nor when it is heard again.
      if (!this.#targets.includes(target)) this.#translations.set(target, this.#text(this.#words.told_s));
    }
    this.#targets = [...targets];
  }

  /** What follows of these texts is spoken. */
  chooseSpeech(speech) {
    for (const text of speech) {
      if (!this.#speech.includes(text)) this.#sounds.set(text, new Sound(this.#words.told_s));
    }
    this.#speech = [...speech];
  }

  /** Return a session's event with its times set right; null for what is known. */
  told(event) {
    const shifted = this.#shifted(event);
    if (["words", "translation"].includes(event.type)) {
      const words = this.#textOf(event).new(shifted.words);
      return words.length ? { ...shifted, words } : null;
    }
    if (["draft", "translation_draft"].includes(event.type) && this.#textOf(event).isCatchingUp) return null;
    if (event.type === "translation_skipped") return this.#newlySkipped(shifted);
    if (event.type === "spoken") {
      const { source_start_s, source_end_s, is_last: isLast } = shifted;
      return this.#soundOf(event).isNew(source_start_s, source_end_s, isLast) ? shifted : null;
    }
    if (event.type === "speech_skipped") {
      return this.#soundOf(event).isNew(shifted.from_s, shifted.to_s, true) ? shifted : null;
    }
    // A pause that is heard again is no news, and no word after it is taken back.
    if (event.type === "speech_ended" && shifted.at_s > this.#words.toldBefore_s) {
      this.#silence_s = Math.max(this.#silence_s, shifted.at_s);
      this.#words.told_s = Math.min(this.#words.told_s, shifted.at_s);
    }
    return shifted;
  }

  /** A new session hears the audio from here. */
  startAnew(from_s) {
    this.#sessionStart_s = from_s;
    for (const text of [this.#words, ...this.#translations.values()]) text.startAnew(from_s);
    for (const sound of this.#sounds.values()) sound.spokenBefore_s = sound.spoken_s;
  }

  /** From where audio must be kept, so that another session could be played it; received_s: what this one has. */
  neededFrom_s(received_s) {
    const translated_s = this.#targets.map((target) => this.#translations.get(target).told_s);
    const spoken_s = this.#speech.map((text) => this.#sounds.get(text).spoken_s);
    const told_s = Math.min(this.#silence_s, ...translated_s, ...spoken_s);
    const beforeWord_s = this.#words.told_s - this.#recovery.before_word_s;
    return Math.max(told_s, beforeWord_s, received_s - this.#recovery.after_receipt_s);
  }

  /** Up to where all has been told for certain: the last word, or the pause after it. */
  get heard_s() {
    return Math.max(this.#silence_s, this.#words.told_s);
  }

  #newlySkipped(event) {
    const text = this.#textOf(event);
    if (event.to_s <= text.toldBefore_s) return null;
    text.told_s = Math.max(text.told_s, event.to_s);
    return { ...event, from_s: Math.max(event.from_s, text.toldBefore_s) };
  }

  #textOf({ target }) {
    if (target === undefined) return this.#words;
    if (!this.#translations.has(target)) this.#translations.set(target, this.#text());
    return this.#translations.get(target);
  }

  #soundOf({ target }) {
    if (!this.#sounds.has(target)) this.#sounds.set(target, new Sound(0));
    return this.#sounds.get(target);
  }

  #text(told_s) {
    return new Text(this.#recovery.same_word_s, told_s);
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
