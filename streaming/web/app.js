/** The page: buttons on one side, a recording and its captions on the other. */

import { Captions } from "./captions.js";
import { State } from "./client.js";
import { Controls } from "./controls.js";
import { setUpDownloads } from "./downloads.js";
import { tagOf } from "./languages.js";
import { Listening } from "./listening.js";
import { setUpLook } from "./look.js";
import { modelUrl, streamUrl } from "./protocol.js";
import { problem } from "./sentences.js";
import { askForModel } from "./server_model.js";
import { Status } from "./status.js";
import { Transcript } from "./transcript.js";

const UPDATE_MS = 250;

const element = (id) => document.getElementById(id);
const root = document.documentElement;
const transcript = new Transcript();
const captions = new Captions(element("captions"), element("text"), element("to-latest"));
const controls = new Controls(element("controls"));
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
let isOffered = false;
let offset_s = 0;
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
  () => captions.showLatest(),
);
setUpDownloads(document.querySelectorAll("[data-format]"), () => transcript.words);
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
    controls.offer(await askForModel(modelUrl(location.href, token()), wait));
    isOffered = true;
    if (phase === "idle") status.show("idle");
  } catch (error) {
    wait(error.code);
    showProblem(error);
  } finally {
    isAsking = false;
  }
}

function wait(code) {
  if (phase === "idle") status.show("waiting", code);
}

// A recording

async function start() {
  hideProblem();
  enter("opening");
  if (!isOffered) learn();
  offset_s = transcript.end_s;
  const { language, task } = controls.choices;
  speaks(task === "translate" ? "en" : language);
  try {
    const told = { event: hear, state: follow, level: (level) => status.level(level), sourceEnded };
    listening = await Listening.open(controls.choices, streamUrl(location.href, token()), told);
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
  listening?.giveUp();
}

function sourceEnded(error) {
  enter("finishing");
  if (error) showProblem(error);
}

function follow(state, error) {
  if (state === State.OVER) over(error);
  else status.show(state === State.OPEN && phase === "finishing" ? "finishing" : state, error?.code);
}

function over(error) {
  clearInterval(updateTimer);
  if (listening) status.update(listening);
  wakeLock?.release();
  wakeLock = null;
  captions.draft("", false);
  transcript.endRecording();
  listening = null;
  enter("idle");
  if (error?.code) showProblem(error);
  // The server may have another model by now.
  if (error?.code === "config") learn();
}

// What is heard

function hear(event) {
  if (event.type === "words") commit(event.words);
  else if (event.type === "draft") captions.draft(event.text, transcript.isParagraphDue);
  else if (event.type === "speech_started") transcript.startSpeech(offset_s + event.at_s);
  else if (event.type === "speech_ended") transcript.endSpeech();
  else if (["dropped", "cut_short"].includes(event.type)) showProblem({ code: event.type });
  else if (event.type === "language" && controls.choices.task !== "translate") speaks(event.language);
}

function commit(words) {
  runsOf(words).forEach((run, n) => {
    const text = run.map((word) => word.text).join("");
    captions.commit(text, n === 0 && transcript.isParagraphDue, tagOf(run[0].language ?? ""));
  });
  transcript.add(words.map((word) => ({ ...word, start_s: offset_s + word.start_s, end_s: offset_s + word.end_s })));
  showWhetherEmpty();
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

/** For screen readers, hyphens and glyphs. */
function speaks(language) {
  if (!language || language === "auto") element("text").removeAttribute("lang");
  else element("text").lang = tagOf(language);
}

function clear() {
  transcript.clear();
  captions.clear();
  showWhetherEmpty();
}

// The page

function enter(next) {
  phase = next;
  root.dataset.phase = phase;
  element("start").disabled = phase === "opening";
  element("stop").textContent = phase === "finishing" ? "Don’t wait" : "Stop";
  if (phase === "idle" || phase === "finishing") status.show(phase);
  if (phase !== "live") status.level(0);
}

function showWhetherEmpty() {
  const isEmpty = transcript.words.length === 0;
  element("empty").hidden = !isEmpty;
  for (const button of document.querySelectorAll("[data-needs-words]")) button.disabled = isEmpty;
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
