"use strict";
// One pair at a time: two answers make a vote, and the next pair comes when the server has it on its disk.

const QUESTIONS = ["prompt", "quality"];
const KEYS = { ArrowLeft: "left", ArrowRight: "right", ArrowDown: "none" };
const AGAIN_MS = 1500;

const byId = (id) => document.getElementById(id);
const fieldsets = [...document.querySelectorAll("fieldset")];

// A browser may refuse to keep anything; then the voter lasts as long as the page.
const memory = new Map();
const kept = {
  get(key) {
    try { return localStorage.getItem(key); } catch { return memory.get(key) ?? null; }
  },
  set(key, value) {
    try { localStorage.setItem(key, value); } catch { memory.set(key, value); }
  },
};

// `crypto.randomUUID` is there on secure pages alone, and a study in an office is served over HTTP.
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

const voter = kept.get("add-study-voter") ?? newId();
kept.set("add-study-voter", voter);

let state = { done: 0, of: 0, next: [], undo: null };
let answers = {};
let busy = false;
let ready = false;
let shown = null;

class Refused extends Error {}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function trouble(text) {
  byId("trouble").textContent = text;
  byId("trouble").hidden = !text;
}

// Asks until there is an answer: a vote has an id, so that saying it twice counts once.
async function ask(path, body) {
  for (;;) {
    try {
      const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ voter, ...body }) };
      const answer = await fetch(path, options);
      if (answer.ok) {
        trouble("");
        return await answer.json();
      }
      const problem = (await answer.json().catch(() => ({}))).error ?? answer.statusText;
      if (answer.status < 500 && answer.status !== 408) throw new Refused(problem);
      trouble(`Not kept yet (${problem}); trying again…`);
    } catch (error) {
      if (error instanceof Refused) throw error;
      trouble("The server does not answer; your last answer is not kept yet. Trying again…");
    }
    await sleep(AGAIN_MS);
  }
}

async function exchange(path, body) {
  busy = true;
  render();
  let problem = "";
  try {
    state = await ask(path, body);
  } catch (error) {
    // Another tab of the same voter was faster: go on from where the server is.
    problem = error.message;
    state = await ask("/api/state", {}).catch(() => state);
  }
  answers = {};
  busy = false;
  show();
  if (problem) trouble(problem);
}

const active = () => QUESTIONS.find((question) => !(question in answers));

function answer(choice, question = active()) {
  if (busy || !ready || document.body.dataset.view !== "pair") return;
  answers[question] = choice;
  if (active()) return render();
  exchange("/api/vote", { name: kept.get("add-study-name") ?? "", vote: newId(), task: shown, ...answers });
}

function takeBack() {
  if (busy || document.body.dataset.view === "intro") return;
  const last = QUESTIONS.findLast((question) => question in answers);
  if (last) {
    delete answers[last];
    return render();
  }
  if (state.undo) exchange("/api/undo", { undo: state.undo });
}

function show() {
  const [pair, ...rest] = state.next;
  const begun = state.done > 0 || kept.get("add-study-begun");
  document.body.dataset.view = !pair ? "done" : begun ? "pair" : "intro";
  if (pair && pair.task !== shown) showPair(pair);
  if (!pair) shown = null;
  for (const { left, right } of rest) [left, right].forEach((url) => { new Image().src = url; });
  render();
}

async function showPair(pair) {
  shown = pair.task;
  ready = false;
  byId("caption").textContent = pair.caption;
  document.title = pair.caption;
  try {
    await Promise.all(["left", "right"].map((side) => load(byId(side).querySelector("img"), pair[side])));
  } catch {
    trouble("A picture cannot be loaded; trying again…");
    await sleep(AGAIN_MS);
    if (shown !== pair.task) return;
    trouble("");
    return showPair(pair);
  }
  if (shown !== pair.task) return;
  ready = true;
  render();
}

async function load(image, url) {
  image.removeAttribute("src");
  image.src = url;
  await image.decode();
  image.classList.toggle("small-picture", image.naturalWidth < 200);
}

function render() {
  byId("progress").max = Math.max(state.of, 1);
  byId("progress").value = state.done;
  byId("count").textContent = `${state.done} of ${state.of}`;
  byId("undo").disabled = busy || (!state.undo && Object.keys(answers).length === 0);
  byId("pair").classList.toggle("waiting", !ready);
  document.body.dataset.ready = ready && !busy;
  for (const fieldset of fieldsets) {
    const question = fieldset.dataset.question;
    fieldset.classList.toggle("active", question === active());
    for (const button of fieldset.querySelectorAll("button")) {
      button.disabled = busy || !ready;
      button.setAttribute("aria-pressed", answers[question] === button.dataset.choice);
    }
  }
}

document.addEventListener("keydown", (event) => {
  if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.body.dataset.view !== "intro" && event.key in KEYS) {
    event.preventDefault();
    // A key that is held down is one answer.
    if (!event.repeat) answer(KEYS[event.key]);
  } else if (event.key.toLowerCase() === "u" && !event.repeat) {
    takeBack();
  }
});
byId("undo").addEventListener("click", takeBack);
for (const side of ["left", "right"]) byId(side).addEventListener("click", () => answer(side));
for (const fieldset of fieldsets) {
  fieldset.addEventListener("click", (event) => {
    const choice = event.target.closest("button")?.dataset.choice;
    if (choice) answer(choice, fieldset.dataset.question);
  });
}
byId("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  kept.set("add-study-name", byId("name").value.trim());
  kept.set("add-study-begun", "yes");
  show();
});
byId("name").value = kept.get("add-study-name") ?? "";
exchange("/api/state", {});
