/** What can be chosen: read from the form, remembered for the next visit. It knows nothing of audio and servers. */

import { namedLanguages } from "./languages.js";
import { microphones } from "./microphone.js";

const REMEMBERED = ["source", "language", "task", "pace"];

export class Controls {
  #form;

  constructor(form) {
    this.#form = form;
    for (const [code, name] of namedLanguages()) form.elements.language.add(new Option(name, code));
    for (const name of REMEMBERED) this.#recall(name);
    form.addEventListener("change", () => this.#change());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.listMicrophones());
    this.#change();
    this.listMicrophones();
  }

  get choices() {
    const { source, device, file, pace, language, task } = this.#form.elements;
    return {
      source: source.value,
      deviceId: device.value,
      file: file.files[0],
      pace: pace.value,
      language: language.value,
      task: task.value,
    };
  }

  /** Their names are known only once one was allowed. */
  async listMicrophones() {
    const { device } = this.#form.elements;
    const found = await microphones();
    const chosen = device.value;
    device.replaceChildren(new Option("Default microphone", ""));
    for (const { deviceId, label } of found) if (deviceId !== "default") device.add(new Option(label, deviceId));
    device.value = [...device.options].some((option) => option.value === chosen) ? chosen : "";
    this.#form.querySelector("#device-field").dataset.isOne = String(device.options.length < 3);
  }

  #recall(name) {
    const value = localStorage.getItem(name);
    const field = this.#form.elements[name];
    const known = [...(field.options ?? field)].map((option) => option.value);
    if (known.includes(value)) field.value = value;
  }

  #change() {
    const { file } = this.#form.elements;
    this.#form.dataset.source = this.choices.source;
    this.#form.querySelector("#file-name").textContent = file.files[0]?.name ?? "Choose a file …";
    for (const name of REMEMBERED) localStorage.setItem(name, this.choices[name]);
  }
}
