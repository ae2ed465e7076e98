// Pictures while you type: every change of a setting asks for a picture at once; the latest wins.

import { Drawing } from "./draw.js";
import * as history from "./history.js";
import { Figure } from "./picture.js";
import { Stream } from "./stream.js";
import { ask, byId, duration, el, icon, remembered } from "./util.js";

const NOISES = 16;
const MIXES = 9;
/** Seeds a second while walking. */
const WALK_MS = 220;
/** A picture that stays this long is kept in the history. */
const SETTLED_MS = 1500;
const SEEDS = 2 ** 32;
/** Requests of one figure on their way, where there are few figures and where there are many. */
const UNDER_WAY = { few: 2, many: 1 };

/** What the page begins with, and remembers. */
const BEGINNING = {
  prompt: "red heart, noto emoji", prompt_b: "blue heart, noto emoji", negative: "", mode: "one", model: "", steps: 1, seed: 7, index: 0,
  locked: true, teacher_steps: null, guidance: null, strength: 0.75, mix: 0.5, scaling: "crisp",
};

const state = { ...BEGINNING, ...remembered.get("live", {}) };
let models = [];
let stream = null;
let figures = [];
let drawing = null;
/** By lane: the request whose last picture is not yet there. */
const waiting = new Map();
let walking = null;
let settling = null;
let lastKept = "";

/** The model that is asked, and the teacher that it is compared with. */
const chosen = () => models.find((model) => model.name === state.model) ?? models[0];
const teacher = () => models.find((model) => model.name === `${chosen()?.name}-teacher`) ?? models.find((model) => model.kind === "teacher");

/** Opens the stream and builds the page. */
export async function begin() {
  try {
    models = await ask("api/models");
  } catch (error) {
    tell(`The server does not say which models it has: ${error.message}`);
  }
  if (!models.some((model) => model.name === state.model)) state.model = models[0]?.name ?? "";
  stream = new Stream("api/stream", connection);
  listen();
  offer();
  arrange();
  await showHistory();
}

function connection(now) {
  const box = byId("connection");
  box.dataset.state = now;
  box.lastElementChild.textContent = now === "open" ? "" : "not connected";
}

/* Asking */

/** The fields of a request with the page's settings. */
function fields(extra = {}) {
  return {
    model: chosen()?.name, prompt: state.prompt, negative: negative(chosen()), seed: state.seed, index: state.index, steps: state.steps, ...extra,
  };
}

/** The negative prompt, for a model that is guided. */
const negative = (model) => (model?.supports.negative && state.negative !== "" ? state.negative : undefined);

/** Asks for everything that the view shows. `since` is the moment of the key or click. */
function update(since = performance.now()) {
  remembered.set("live", state);
  if (!stream || !chosen()) return;
  for (const [at, figure] of figures.entries()) request(figure, requested(at), at === 0 ? since : undefined);
  if (state.mode === "one") figures[0].label.textContent = state.index > 0 ? `noise ${state.index}` : "";
  settle();
}

/** What the figure at `at` of the view asks for. */
function requested(at) {
  const mixed = (mix) => fields({ prompt_b: state.prompt_b, mix });
  switch (state.mode) {
    case "grid":
      return fields({ index: at });
    case "compare":
      return at === 0 ? fields() : fields({ model: teacher()?.name, negative: negative(teacher()), steps: state.teacher_steps, guidance: state.guidance });
    case "draw":
      return fields({ init: drawing.png(chosen().size), strength: state.strength });
    case "mix":
      return mixed(at === 0 ? state.mix : (at - 1) / (MIXES - 1));
    default:
      return fields();
  }
}

function request(figure, asked, since) {
  const fields = { ...asked, previews: asked.steps > 1 };
  const id = stream.ask(figure.lane, fields, async (answer, last) => {
    if (answer.problem) {
      tell(answer.problem);
    } else {
      tell("");
      await figure.show(asked, answer, last);
      if (last && since !== undefined) arrived(since);
    }
    if (last && waiting.get(figure.lane) === id) wait(figure.lane, null);
  }, figures.length > 2 ? UNDER_WAY.many : UNDER_WAY.few);
  wait(figure.lane, id);
}

/** Notes which lanes wait for a picture; the style sheet shows whether any does. */
function wait(lane, id) {
  if (id === null) waiting.delete(lane);
  else waiting.set(lane, id);
  document.documentElement.dataset.waiting = waiting.size;
}

/** Notes how long it took from the key to the picture. */
function arrived(since) {
  const { duration: took } = performance.measure("keystroke-to-picture", { start: since });
  const box = byId("connection");
  box.lastElementChild.textContent = duration(took);
  box.title = "From the last key to its picture";
}

function tell(problem) {
  const box = byId("problem");
  box.textContent = problem;
  box.hidden = problem === "";
}

/* The view */

/** Builds the figures of the chosen view. */
function arrange() {
  for (const figure of figures) {
    stream?.drop(figure.lane);
    wait(figure.lane, null);
  }
  const { mode } = state;
  const stage = byId("stage");
  stage.className = `stage ${mode}`;
  const student = chosen()?.name ?? "student";
  const views = {
    one: () => [new Figure("one")],
    grid: () => Array.from({ length: NOISES }, (_, at) => new Figure(`noise-${at}`)),
    compare: () => [new Figure("student", student), new Figure("teacher", teacher()?.name ?? "teacher")],
    draw: () => [new Figure("drawn", "picture")],
    mix: () => [new Figure("mixed"), ...Array.from({ length: MIXES }, (_, at) => new Figure(`mix-${at}`))],
  };
  figures = (views[mode] ?? views.one)();
  stage.replaceChildren(...figures.map((figure) => figure.node));
  if (mode === "grid") figures.forEach((figure, at) => enlarge(figure, at));
  if (mode === "draw") {
    drawing ??= new Drawing(() => update());
    stage.prepend(el("figure", {}, drawing.canvas, el("figcaption", {}, el("b", { textContent: "drawing" }))));
    stage.append(drawing.tools);
  }
  if (mode === "mix") film(stage);
  for (const tab of byId("modes").children) {
    const on = tab.dataset.mode === mode;
    tab.setAttribute("aria-selected", String(on));
    tab.tabIndex = on ? 0 : -1;
  }
  for (const field of document.querySelectorAll("[data-in]")) field.hidden = field.dataset.in !== mode;
  scale();
  update();
}

/** A click on one of the noises shows it alone. */
function enlarge(figure, at) {
  const button = el("button", { type: "button", className: "pick", title: `Noise ${at}: show it alone`, ariaLabel: `Show noise ${at} alone`, onclick: () => set({ mode: "one", index: at }) }, figure.canvas);
  figure.node.prepend(button);
}

/** The mixes as a strip below the large picture; a click goes there. */
function film(stage) {
  const strip = el("div", { className: "film" });
  figures.slice(1).forEach((figure, at) => {
    const share = at / (MIXES - 1);
    const button = el("button", { type: "button", className: "pick", ariaLabel: `Share ${Math.round(share * 100)} %`, onclick: () => set({ mix: share }) }, figure.canvas);
    figure.node.prepend(button);
    strip.append(figure.node);
  });
  stage.append(strip);
}

function scale() {
  document.documentElement.dataset.scaling = state.scaling;
  press("scaling", state.scaling);
}

/* The controls */

function press(id, value) {
  for (const button of byId(id).children) button.setAttribute("aria-pressed", String(button.dataset[id] === String(value)));
}

/** Changes settings, shows them, and asks again. */
function set(change, since) {
  // The number of a noise belongs to its seed.
  if ("seed" in change && !("index" in change)) state.index = 0;
  Object.assign(state, change);
  if ("model" in change) offer();
  show();
  if ("mode" in change || "model" in change) arrange();
  else if ("scaling" in change) {
    scale();
    remembered.set("live", state);
  } else update(since);
}

/** Writes the settings into the controls. */
function show() {
  for (const [id, key] of [["prompt", "prompt"], ["prompt-b", "prompt_b"], ["negative", "negative"], ["seed", "seed"], ["mix", "mix"], ["strength", "strength"], ["guidance", "guidance"], ["teacher-steps", "teacher_steps"], ["model", "model"]]) {
    if (byId(id).value !== String(state[key])) byId(id).value = state[key];
  }
  byId("mix-now").textContent = `${Math.round(state.mix * 100)} %`;
  byId("strength-now").textContent = state.strength.toFixed(2);
  byId("guidance-now").textContent = state.guidance.toFixed(1);
  byId("teacher-steps-now").textContent = state.teacher_steps;
  byId("negative-field").hidden = !(chosen()?.supports.negative || (state.mode === "compare" && teacher()?.supports.negative));
  press("steps", state.steps);
  const lock = byId("lock");
  lock.setAttribute("aria-pressed", String(state.locked));
  lock.replaceChildren(icon(state.locked ? "lock" : "unlock"));
  const typed = state.prompt.toLowerCase();
  for (const chip of byId("styles").children) chip.setAttribute("aria-pressed", String(typed.endsWith(chip.dataset.style.toLowerCase())));
}

const another = () => Math.floor(Math.random() * SEEDS);

function typed(key, event) {
  const change = { [key]: event.target.value };
  if (!state.locked) change.seed = another();
  set(change, event.timeStamp);
}

/** Fills what depends on the model. */
function offer() {
  const [model, other] = [chosen(), teacher()];
  const steps = model?.steps ?? [];
  byId("steps").replaceChildren(...steps.map((count) => {
    const button = el("button", { type: "button", textContent: count });
    button.dataset.steps = count;
    return button;
  }));
  if (steps.length > 0 && !steps.includes(state.steps)) state.steps = model.defaults.steps;
  if (other) {
    state.teacher_steps ??= other.defaults.steps;
    state.guidance ??= other.defaults.guidance;
  }
  byId("model").replaceChildren(...models.map(({ name }) => el("option", { value: name, textContent: name })));
  byId("model-field").hidden = models.length < 2;
  byId("modes").querySelector("[data-mode=compare]").hidden = !other;
  byId("modes").querySelector("[data-mode=draw]").hidden = !model?.supports.init;
  if (byId("modes").querySelector(`[data-mode=${state.mode}]`)?.hidden ?? true) state.mode = "one";
  const styles = chosen()?.styles ?? [];
  byId("styles").replaceChildren(...styles.map((style) => {
    const chip = el("button", { type: "button", textContent: style, onclick: () => set({ prompt: styled(state.prompt, style, styles) }) });
    chip.dataset.style = style;
    return chip;
  }));
  show();
}

/** Listens to the controls. */
function listen() {
  byId("prompt").addEventListener("input", (event) => typed("prompt", event));
  byId("prompt-b").addEventListener("input", (event) => typed("prompt_b", event));
  byId("negative").addEventListener("input", (event) => typed("negative", event));
  for (const [id, key] of [["mix", "mix"], ["strength", "strength"], ["guidance", "guidance"], ["teacher-steps", "teacher_steps"]]) {
    byId(id).addEventListener("input", (event) => set({ [key]: Number(event.target.value) }, event.timeStamp));
  }
  byId("model").addEventListener("change", (event) => set({ model: event.target.value }));
  byId("seed").addEventListener("input", (event) => {
    const seed = Math.floor(Number(event.target.value));
    if (event.target.value !== "" && seed >= 0 && seed < SEEDS) set({ seed }, event.timeStamp);
  });
  byId("steps").addEventListener("click", ({ target }) => target.dataset.steps && set({ steps: Number(target.dataset.steps) }));
  byId("scaling").addEventListener("click", ({ target }) => target.dataset.scaling && set({ scaling: target.dataset.scaling }));
  byId("modes").addEventListener("click", ({ target }) => target.dataset.mode && set({ mode: target.dataset.mode }));
  byId("modes").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.stopPropagation();
    const tabs = [...byId("modes").children].filter((tab) => !tab.hidden);
    const next = tabs[(tabs.findIndex((tab) => tab.dataset.mode === state.mode) + by + tabs.length) % tabs.length];
    set({ mode: next.dataset.mode });
    next.focus();
  });
  byId("clear").addEventListener("click", () => {
    set({ prompt: "" });
    byId("prompt").focus();
  });
  byId("lock").addEventListener("click", actions.lock);
  byId("random").addEventListener("click", actions.random);
  byId("walk").addEventListener("click", actions.walk);
  byId("keep").addEventListener("click", actions.keep);
  byId("download").addEventListener("click", actions.download);
  byId("history-clear").addEventListener("click", async () => {
    await history.clear();
    await showHistory();
  });
}

/** The prompt in this style: in place of the one that it ends with, else behind it. */
function styled(prompt, style, styles) {
  const plain = styles.reduce((text, other) => text.replace(new RegExp(`,?\\s*${other}\\s*$`, "i"), ""), prompt).replace(/[,\s]+$/, "");
  return plain === "" ? style : `${plain}, ${style}`;
}

/** What keys and buttons do. */
export const actions = {
  mode: (mode) => set({ mode }),
  steps: (steps) => chosen()?.steps.includes(steps) && set({ steps }),
  seed: (by) => set({ seed: (state.seed + by + SEEDS) % SEEDS }),
  random: () => set({ seed: another() }),
  lock: () => {
    state.locked = !state.locked;
    remembered.set("live", state);
    show();
  },
  walk: () => {
    clearInterval(walking);
    walking = walking ? null : setInterval(() => actions.seed(1), WALK_MS);
    const button = byId("walk");
    button.setAttribute("aria-pressed", String(walking !== null));
    button.replaceChildren(icon(walking ? "pause" : "play"));
  },
  scaling: () => set({ scaling: state.scaling === "crisp" ? "smooth" : "crisp" }),
  undo: () => state.mode === "draw" && drawing?.undo(),
  download: () => save(figures[0]),
  keep: () => keep(),
  focus: () => {
    byId("prompt").focus();
    byId("prompt").select();
  },
};

/** The server's PNG as it is: its settings are inside. */
function save(figure) {
  if (!figure?.shown) return;
  const { fields: made, png } = figure.shown;
  const name = made.prompt.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 60) || "picture";
  const url = URL.createObjectURL(png);
  el("a", { href: url, download: `${name}-${made.seed}${made.index ? `-${made.index}` : ""}.png` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/* History */

function settle() {
  clearTimeout(settling);
  if (walking === null) settling = setTimeout(keep, SETTLED_MS);
}

/** Keeps the first picture of the view with the settings that made it, once. */
async function keep() {
  const shown = figures[0]?.shown;
  if (!shown || state.prompt.trim() === "") return;
  const settings = { ...state };
  const made = JSON.stringify([shown.fields, state.mode]);
  if (made === lastKept) return;
  lastKept = made;
  await history.keep({ time: Date.now(), settings, png: shown.png });
  await showHistory();
}

async function showHistory() {
  const entries = await history.all().catch(() => []);
  byId("history-empty").hidden = entries.length > 0;
  byId("history-clear").hidden = entries.length === 0;
  for (const old of byId("history").querySelectorAll("img")) URL.revokeObjectURL(old.src);
  byId("history").replaceChildren(...entries.map((entry) => {
    const { prompt, seed, steps } = entry.settings;
    const words = `${prompt} · seed ${seed} · ${steps} ${steps === 1 ? "step" : "steps"}`;
    const again = el("button", { type: "button", title: words, ariaLabel: `Again: ${words}`, onclick: () => restore(entry.settings) },
      el("img", { src: URL.createObjectURL(entry.png), alt: "", className: "picture" }), el("span", { textContent: prompt }));
    const forget = el("button", { type: "button", className: "forget", ariaLabel: `Forget: ${words}`, textContent: "×", onclick: async () => { await history.forget(entry.id); await showHistory(); } });
    const item = el("div", { className: "entry" }, again, forget);
    item.setAttribute("role", "listitem");
    return item;
  }));
}

function restore(settings) {
  const { scaling } = state;
  set({ ...BEGINNING, ...settings, scaling, locked: true });
}
