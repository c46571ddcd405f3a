/** The page: buttons on one side, a recording and its captions on the other. */

import { Choice } from "./choice.js";
import { State } from "./client.js";
import { Controls } from "./controls.js";
import { setUpDownloads } from "./downloads.js";
import { Hearing } from "./hearing.js";
import { Listening } from "./listening.js";
import { setUpLook } from "./look.js";
import { Player } from "./player.js";
import { modelUrl, streamUrl } from "./protocol.js";
import { problem } from "./sentences.js";
import { askForModel } from "./server_model.js";
import { Status } from "./status.js";
import { ORIGINAL, Texts } from "./texts.js";

const UPDATE_MS = 250;

const element = (id) => document.getElementById(id);
const root = document.documentElement;
const texts = new Texts(element("texts"), element("pane"), (target) => choice.nameOf(target));
const choice = new Choice(element("languages"), choose);
const player = new Player((seconds) =>
  texts.hear({ type: "speech_skipped", target: heard()[0] ?? ORIGINAL, from_s: 0, to_s: seconds, why: "it came too late" }),
);
const hearing = new Hearing(element("hearing"), { onChange: hearOther, onVolume: (volume) => (player.volume = volume) });
player.volume = hearing.volume;
const controls = new Controls(element("controls"), offerTexts);
const status = new Status({
  connection: element("connection"),
  delay: element("delay"),
  time: element("time"),
  meter: element("meter"),
  notice: element("notice"),
});

/** One of idle, opening, live, finishing. */
let phase = "idle";
let listening = null;
let isAsking = false;
/** What the server has; null while that is not known. */
let served = null;
let updateTimer = 0;
let wakeLock = null;

setUpLook(
  {
    theme: element("theme"),
    smaller: element("smaller"),
    larger: element("larger"),
    fullScreen: element("full-screen"),
    leaveFullScreen: element("leave-full-screen"),
  },
  () => texts.showLatest(),
);
setUpDownloads(document.querySelectorAll("[data-format]"), () => {
  const target = element("saved").value;
  return { words: texts.wordsOf(target), target };
});
element("controls").addEventListener("submit", (event) => {
  event.preventDefault();
  if (phase === "idle") start();
});
element("stop").addEventListener("click", () => (phase === "live" ? finish() : giveUp()));
element("clear").addEventListener("click", clear);
element("dismiss").addEventListener("click", hideProblem);
addEventListener("beforeunload", (event) => phase !== "idle" && event.preventDefault());
document.addEventListener("visibilitychange", keepAwake);
enter("idle");
showWhetherEmpty();
// Until here nothing on the page would have heard a click.
document.body.inert = false;
learn();

// What the server has

async function learn() {
  if (isAsking) return;
  isAsking = true;
  try {
    served = await askForModel(modelUrl(location.href, token()), wait);
    controls.offer(served);
    offerTexts();
    if (phase === "idle") status.show("idle");
  } catch (error) {
    wait(error.code);
    showProblem(error);
  } finally {
    isAsking = false;
  }
}

/** Offer the languages that the chosen model's text can be translated into. */
function offerTexts() {
  const { first_targets: first, most_targets: most, voices, most_speech: mostSpeech } = served;
  const { targets } = controls.model;
  hearing.offer(targets, voices, mostSpeech);
  choice.offer(targets, first, most);
}

function wait(code) {
  if (phase === "idle") status.show("waiting", code);
}

// A recording

async function start() {
  hideProblem();
  enter("opening");
  if (!served) learn();
  texts.startRecording();
  const { language, task } = controls.choices;
  texts.original.speaks(task === "translate" ? "en" : language);
  const choices = { ...controls.choices, targets: targets(), speech: heard() };
  try {
    const told = { event: hear, state: follow, level: (level) => status.level(level), sourceEnded };
    listening = await Listening.open(choices, streamUrl(location.href, token()), told);
  } catch (error) {
    over(error);
    return;
  }
  // The client may have been refused meanwhile.
  if (phase !== "opening") return;
  enter("live");
  keepAwake();
  controls.listMicrophones();
  updateTimer = setInterval(() => status.update(listening), UPDATE_MS);
}

function finish() {
  listening.finish();
  enter("finishing");
}

function giveUp() {
  player.stop();
  listening?.giveUp();
}

function sourceEnded(error) {
  enter("finishing");
  if (error) showProblem(error);
}

function follow(state, error) {
  if (state === State.OVER) over(error);
  else status.show(state === State.OPEN && phase === "finishing" ? "finishing" : state, error?.code, error?.in_s);
}

function over(error) {
  clearInterval(updateTimer);
  if (listening) status.update(listening);
  wakeLock?.release();
  wakeLock = null;
  texts.endRecording();
  listening = null;
  enter("idle");
  if (error?.code) showProblem(error);
  // The server may have another model by now.
  if (error?.code === "config") learn();
}

// What is heard

function hear(event) {
  if (event.type === "spoken") {
    player.play(event);
    return;
  }
  if (event.type === "cleared") player.stop();
  texts.hear(event);
  if (["words", "translation"].includes(event.type)) showWhetherEmpty();
  else if (["dropped", "cut_short"].includes(event.type)) showProblem({ code: event.type });
  else if (event.type === "language" && controls.choices.task !== "translate") texts.original.speaks(event.language);
}

/** The reader chooses other texts. */
function choose() {
  listening?.chooseTargets(targets());
  if (heard().length) listening?.chooseSpeech(heard());
  showTexts();
}

/** The reader wants to hear something else, and not what was about to be heard. */
function hearOther() {
  player.stop();
  listening?.chooseTargets(targets());
  listening?.chooseSpeech(heard());
}

function ownLanguage() {
  const { language, task } = controls.choices;
  return task === "translate" ? "en" : language;
}

/** What is to be spoken. */
function heard() {
  return hearing.chosen(ownLanguage());
}

/** The languages that are seen or heard, without that of the text itself, which would only be copied. */
function targets() {
  const spoken = heard().filter((target) => target !== ORIGINAL);
  const seen = choice.targets.filter((target) => target !== ownLanguage());
  return [...new Set([...spoken, ...seen])].slice(0, choice.most);
}

/** Those that are seen. */
function seen() {
  return choice.targets.filter((target) => targets().includes(target));
}

/** One at least; before anything is said, that which says what the page is for. */
function showTexts() {
  const [translations, isToBegin] = [seen(), phase === "idle" && texts.isEmpty];
  const isAlone = isToBegin || translations.length === 0;
  texts.show([...(isAlone || choice.hasOriginal ? [ORIGINAL] : []), ...(isToBegin ? [] : translations)]);
}

function clear() {
  player.stop();
  texts.clear();
  showWhetherEmpty();
  showTexts();
}

// The page

function enter(next) {
  phase = next;
  root.dataset.phase = phase;
  element("start").disabled = phase === "opening";
  element("stop").textContent = phase === "finishing" ? "Don’t wait" : "Stop";
  if (phase === "idle" || phase === "finishing") status.show(phase);
  if (phase !== "live") status.level(0);
  showTexts();
}

function showWhetherEmpty() {
  const { isEmpty } = texts;
  element("empty").hidden = !isEmpty;
  for (const button of document.querySelectorAll("[data-needs-words]")) button.disabled = isEmpty;
  offerToSave(texts.saveable);
}

/** Which text is to be saved is a question only where there are several. */
function offerToSave(saveable) {
  const saved = element("saved");
  if (saveable.join() === [...saved.options].map((each) => each.value).join()) return;
  const chosen = saved.value;
  const name = (target) => (target === ORIGINAL ? "What is said" : choice.nameOf(target));
  saved.replaceChildren(...saveable.map((target) => new Option(name(target), target, false, target === chosen)));
  saved.hidden = saveable.length < 2;
}

function showProblem(error) {
  const { title, advice, detail } = problem(error);
  element("problem-title").textContent = title;
  element("problem-advice").textContent = advice;
  element("problem-detail").textContent = detail ? `The server says: ${detail}` : "";
  element("token-field").hidden = error.code !== "unauthorized";
  element("problem").hidden = false;
}

function hideProblem() {
  element("problem").hidden = true;
}

/** What was typed in, or stands in the page's address. */
function token() {
  return element("token").value || new URLSearchParams(location.search).get("token") || "";
}

/** A phone whose screen goes dark stops listening. */
async function keepAwake() {
  if (phase !== "live" || document.visibilityState !== "visible") return;
  wakeLock = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
}
