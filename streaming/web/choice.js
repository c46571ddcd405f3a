/** Which texts the reader wants to see: a menu, whose choice is remembered. It knows nothing of what is in them. */

import { named } from "./languages.js";
import { ORIGINAL } from "./texts.js";

const KEY = "texts";

export class Choice {
  #menu;
  #offered;
  #hint;
  #most = 0;
  #names = new Map();
  #onChange;

  /** menu: the details element that holds it all; onChange: is told that the choice is another. */
  constructor(menu, onChange) {
    this.#menu = menu;
    this.#offered = menu.querySelector("#targets");
    this.#hint = menu.querySelector("#most-targets");
    this.#onChange = onChange;
    menu.querySelector("form").addEventListener("change", () => this.#change());
    document.addEventListener("click", ({ target }) => menu.contains(target) || (menu.open = false));
    menu.addEventListener("keydown", ({ key }) => key === "Escape" && this.#close());
  }

  /** Offer what the server translates into, some of it first. most: how many a session may have. */
  offer(targets = [], first = [], most = 0) {
    const remembered = recall();
    const names = named(targets, navigator.languages);
    const isFirst = ([code]) => first.includes(code);
    const byPlace = ([one], [other]) => first.indexOf(one) - first.indexOf(other);
    const sorted = [...names.filter(isFirst).sort(byPlace), ...names.filter((each) => !isFirst(each))];
    this.#names = new Map(names);
    this.#most = most;
    this.#offered.replaceChildren(...sorted.map(([code, name]) => box(code, name, remembered.includes(code))));
    this.#original.checked = remembered.includes(ORIGINAL);
    this.#menu.hidden = sorted.length === 0;
    this.#limit();
    this.#onChange();
  }

  nameOf(target) {
    return this.#names.get(target) ?? target;
  }

  /** The codes of the chosen languages, at most as many as the server allows. */
  get targets() {
    const boxes = [...this.#offered.querySelectorAll(":checked")];
    return boxes.map((each) => each.value).slice(0, this.#most);
  }

  /** How many languages the server allows at once. */
  get most() {
    return this.#most;
  }

  /** Whether what is said is to be seen as well. */
  get hasOriginal() {
    return this.#original.checked;
  }

  get #original() {
    return this.#menu.querySelector("[name=original]");
  }

  #change() {
    localStorage.setItem(KEY, JSON.stringify([...(this.hasOriginal ? [ORIGINAL] : []), ...this.targets]));
    this.#limit();
    this.#onChange();
  }

  #limit() {
    const isFull = this.targets.length >= this.#most;
    for (const each of this.#offered.querySelectorAll("input")) each.disabled = isFull && !each.checked;
    const isLimited = isFull && this.#offered.children.length > this.#most;
    this.#hint.textContent = isLimited ? `The server allows ${this.#most} at once.` : "";
  }

  #close() {
    this.#menu.open = false;
    this.#menu.querySelector("summary").focus();
  }
}

/** What was chosen last time, whether this server has it or not. */
function recall() {
  try {
    const texts = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(texts) ? texts : [ORIGINAL];
  } catch {
    return [ORIGINAL];
  }
}

function box(code, name, isChecked) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  label.className = "choice";
  Object.assign(input, { type: "checkbox", name: "target", value: code, checked: isChecked });
  label.append(input, ` ${name}`);
  return label;
}
