/** What can be chosen: read from the form, remembered for the next visit. It knows nothing of audio and servers. */

import { named } from "./languages.js";
import { microphones } from "./microphone.js";

const REMEMBERED = ["source", "pace", "model", "language", "task"];
const TASKS = { transcribe: "As spoken", translate: "Translated into English" };

export class Controls {
  #form;
  #served = null;
  #onModel;

  /** onModel: called when another model is chosen. */
  constructor(form, onModel) {
    this.#form = form;
    this.#onModel = onModel;
    for (const name of REMEMBERED) this.#recall(name);
    form.addEventListener("change", ({ target }) => this.#change(target.name));
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.listMicrophones());
    this.#change();
    this.listMicrophones();
  }

  /** Offer what the server has. served: as it tells it. */
  offer(served) {
    this.#served = served;
    const { model } = this.#form.elements;
    const names = (served.models ?? []).map(({ name }) => name);
    model.replaceChildren(new Option("Automatic", ""), ...names.map((name) => new Option(name, name)));
    this.#recall("model");
    this.#form.querySelector("#model-field").hidden = names.length < 2;
    this.#offerAbilities();
  }

  /** What the chosen model has; what any has, while that is left to the server. */
  get model() {
    const { model } = this.#form.elements;
    return this.#served.models?.find(({ name }) => name === model.value) ?? this.#served;
  }

  #offerAbilities() {
    const { languages, tasks } = this.model;
    const defaults = this.#served;
    const { language, task } = this.#form.elements;
    const names = named(languages, navigator.languages);
    const detected = languages.length > 1 ? [new Option("Detect", "auto")] : [];
    language.replaceChildren(...detected, ...names.map(([code, name]) => new Option(name, code)));
    task.replaceChildren(...tasks.map((each) => new Option(TASKS[each] ?? each, each)));
    for (const name of ["language", "task"]) {
      const field = this.#form.elements[name];
      if (has(field, defaults[name])) field.value = defaults[name];
      this.#recall(name);
      field.disabled = field.options.length < 2;
    }
    this.#form.querySelector("#task-field").hidden = task.options.length < 2;
  }

  /**
   * model: undefined where the server chooses. language, task: undefined, the server's own, while it is not known what
   * its model has.
   */
  get choices() {
    const { source, device, file, pace, model, language, task } = this.#form.elements;
    return {
      source: source.value,
      deviceId: device.value,
      file: file.files[0],
      pace: pace.value,
      model: model.value || undefined,
      language: language.value || undefined,
      task: language.value ? task.value : undefined,
    };
  }

  /** Their names are known only once one was allowed. */
  async listMicrophones() {
    const { device } = this.#form.elements;
    const found = await microphones();
    const chosen = device.value;
    device.replaceChildren(new Option("System default", ""));
    for (const { deviceId, label } of found) if (deviceId !== "default") device.add(new Option(label, deviceId));
    device.value = [...device.options].some((option) => option.value === chosen) ? chosen : "";
    this.#form.querySelector("#device-field").dataset.isOne = String(device.options.length < 3);
  }

  #recall(name) {
    const value = localStorage.getItem(name);
    const field = this.#form.elements[name];
    if (has(field, value)) field.value = value;
  }

  #change(name) {
    const { file } = this.#form.elements;
    this.#form.dataset.source = this.choices.source;
    this.#form.querySelector("#file-name").textContent = file.files[0]?.name ?? "Choose a file…";
    if (REMEMBERED.includes(name)) localStorage.setItem(name, this.choices[name] ?? "");
    if (name !== "model" || !this.#served) return;
    this.#offerAbilities();
    this.#onModel();
  }
}

/** field: a select, or the radio buttons of one name. */
const has = (field, value) => [...(field.options ?? field)].some((option) => option.value === value);
