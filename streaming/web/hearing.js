/** Which text the reader wants to hear, and how loud: a menu, whose choice is remembered. It knows nothing of sound. */

import { named } from "./languages.js";
import { ORIGINAL } from "./texts.js";

const NOTHING = "nothing";
const KEY = "volume";

export class Hearing {
  #menu;
  #text;
  #volume;
  #voices = [];
  #onChange;

  /** menu: the details element that holds it all; onChange: is told that another text is to be heard. */
  constructor(menu, { onChange, onVolume }) {
    this.#menu = menu;
    this.#text = menu.querySelector("[name=heard]");
    this.#volume = menu.querySelector("[name=volume]");
    this.#onChange = onChange;
    const remembered = Number.parseFloat(localStorage.getItem(KEY));
    if (remembered >= 0 && remembered <= 1) this.#volume.value = remembered;
    this.#text.addEventListener("change", () => this.#onChange());
    this.#volume.addEventListener("input", () => {
      localStorage.setItem(KEY, this.#volume.value);
      onVolume(this.volume);
    });
    document.addEventListener("click", ({ target }) => menu.contains(target) || (menu.open = false));
    menu.addEventListener("keydown", ({ key }) => key === "Escape" && this.#close());
  }

  /** Offer what the server translates into and has a voice for, and what is said; most: how many it speaks at a time. */
  offer(targets = [], voices = [], most = 0) {
    this.#voices = voices.map(({ code }) => code);
    const spoken = targets.filter(({ code }) => this.#voices.includes(code));
    const chosen = this.#text.value;
    const options = [
      new Option("Nothing", NOTHING),
      new Option("What is said", "original"),
      ...named(spoken, navigator.languages).map(([code, name]) => new Option(name, code)),
    ];
    this.#text.replaceChildren(...options);
    if (options.some(({ value }) => value === chosen)) this.#text.value = chosen;
    this.#menu.hidden = this.#voices.length === 0 || most === 0;
  }

  /** The texts to be spoken, at most one: a language, or ORIGINAL. language: of what is said; auto: nobody knows. */
  chosen(language) {
    const { value } = this.#text;
    if (this.#menu.hidden || !value || value === NOTHING) return [];
    if (value !== "original") return value === language ? [ORIGINAL] : [value];
    return !language || language === "auto" || this.#voices.includes(language) ? [ORIGINAL] : [];
  }

  /** 0 to 1. */
  get volume() {
    return Number(this.#volume.value);
  }

  #close() {
    this.#menu.open = false;
    this.#menu.querySelector("summary").focus();
  }
}
