/** The texts on the page: what is said, and translations of it, each in a column of its own. */

import { Captions } from "./captions.js";
import { directionOf, tagOf } from "./languages.js";
import { notSpoken, notTranslated } from "./sentences.js";
import { Transcript } from "./transcript.js";

/** What is said is the text without a target. */
export const ORIGINAL = "";

/** One text, with what is on the screen of it and what may be saved. */
class Text {
  #captions;
  #transcript = new Transcript();
  #utterance = 0;
  #element;

  constructor(pane, target) {
    this.pane = pane;
    this.#element = pane.querySelector(".text");
    const direction = target === ORIGINAL ? "auto" : directionOf(target);
    this.#captions = new Captions(pane.querySelector(".captions"), this.#element, pane.querySelector(".to-latest"), direction);
    this.speaks(target);
  }

  /** For screen readers, hyphens and glyphs; empty or auto where it is not known. */
  speaks(language) {
    if (!language || language === "auto") this.#element.removeAttribute("lang");
    else this.#element.lang = tagOf(language);
  }

  get words() {
    return this.#transcript.words;
  }

  get end_s() {
    return this.#transcript.end_s;
  }

  commit(words) {
    runsOf(words).forEach((run, n) => {
      const text = run.map((word) => word.text).join("");
      this.#captions.commit(text, n === 0 && this.#transcript.isParagraphDue, tagOf(run[0].language ?? ""));
    });
    this.#transcript.add(words);
  }

  /** A translation comes when its utterance may be over, so that it tells itself where that begins. */
  translate(words, utterance) {
    if (utterance !== this.#utterance) this.#transcript.endSpeech();
    this.#utterance = utterance;
    this.#transcript.startSpeech(words[0].start_s);
    this.commit(words);
  }

  draft(text) {
    this.#captions.draft(text, this.#transcript.isParagraphDue);
  }

  note(text) {
    this.#captions.note(text);
    this.#transcript.breakOff();
  }

  startSpeech(at_s) {
    this.#transcript.startSpeech(at_s);
  }

  endSpeech() {
    this.#transcript.endSpeech();
  }

  endRecording() {
    this.#captions.draft("", false);
    this.#transcript.endRecording();
  }

  clear() {
    this.#transcript.clear();
    this.#captions.clear();
  }

  showLatest() {
    this.#captions.showLatest();
  }
}

export class Texts {
  #frame;
  #template;
  #nameOf;
  #texts = new Map();
  #offset_s = 0;

  /** frame: holds the pane of what is said; template: of the pane of a translation; nameOf: tells that of a target. */
  constructor(frame, template, nameOf) {
    this.#frame = frame;
    this.#template = template;
    this.#nameOf = nameOf;
    this.#texts.set(ORIGINAL, new Text(frame.querySelector(".pane"), ORIGINAL));
  }

  get original() {
    return this.#texts.get(ORIGINAL);
  }

  get isEmpty() {
    return this.saveable.length === 0;
  }

  /** The targets of the texts that have words. */
  get saveable() {
    return [...this.#texts.keys()].filter((target) => this.#texts.get(target).words.length);
  }

  wordsOf(target) {
    return this.#texts.get(target).words;
  }

  /** Show these, in their order. What was said of others is kept. */
  show(targets) {
    const panes = targets.map((target) => this.#text(target).pane);
    const shown = [...this.#frame.children].filter((pane) => panes.includes(pane));
    // What is moved loses its place, so nothing is moved that need not be.
    if (panes.some((pane, n) => pane !== shown[n])) this.#frame.append(...panes);
    for (const { pane } of this.#texts.values()) pane.hidden = !panes.includes(pane);
    this.#frame.dataset.panes = String(panes.length);
  }

  /** Another recording follows what there is. */
  startRecording() {
    this.#offset_s = this.original.end_s;
  }

  /** Write what an event of the server says. */
  hear(event) {
    if (event.type === "words") this.original.commit(this.#placed(event.words));
    else if (event.type === "draft") this.original.draft(event.text);
    else if (event.type === "translation") this.#text(event.target).translate(this.#placed(event.words), event.utterance);
    else if (event.type === "translation_draft") this.#text(event.target).draft(event.text);
    else if (event.type === "translation_skipped") this.#text(event.target).note(notTranslated(event));
    else if (event.type === "speech_skipped") this.#text(event.target).note(notSpoken(event));
    else if (event.type === "speech_started") this.original.startSpeech(this.#offset_s + event.at_s);
    else if (event.type === "speech_ended") this.original.endSpeech();
  }

  endRecording() {
    for (const text of this.#texts.values()) text.endRecording();
  }

  clear() {
    for (const text of this.#texts.values()) text.clear();
  }

  showLatest() {
    for (const text of this.#texts.values()) text.showLatest();
  }

  #text(target) {
    if (!this.#texts.has(target)) {
      const pane = this.#template.content.cloneNode(true).firstElementChild;
      const name = this.#nameOf(target);
      pane.querySelector(".pane-title").textContent = name;
      pane.querySelector(".captions").setAttribute("aria-label", `Captions: ${name}`);
      this.#frame.append(pane);
      this.#texts.set(target, new Text(pane, target));
    }
    return this.#texts.get(target);
  }

  #placed(words) {
    const by_s = this.#offset_s;
    return words.map((word) => ({ ...word, start_s: by_s + word.start_s, end_s: by_s + word.end_s }));
  }
}

/** Return the words in pieces of one language each. */
function runsOf(words) {
  const runs = [];
  for (const word of words) {
    if (runs.at(-1)?.[0].language === word.language) runs.at(-1).push(word);
    else runs.push([word]);
  }
  return runs;
}
