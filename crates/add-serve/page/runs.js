// Watching runs: what `train` writes is followed by server-sent events; several runs are laid over each other.

import { chart } from "./chart.js";
import { ago, ask, byId, el, remembered, short, thousands } from "./util.js";

/** Between two looks at the list of runs. */
const LIST_MS = 4000;
/** Runs that can be laid over each other: as many as there are colours. */
const MOST = 8;
/** Figures of one chart get as many colours. */
const COLOURS = 8;

/** By name: what is known of a chosen run, and its source of events. */
const chosen = new Map();
let names = [];
let focus = "";
let timer = null;
let filter = "";
let smoothing = remembered.get("smoothing", true);
let drawing = 0;

/** Shows the runs named in the address, separated by `+`; without a name the newest. */
export async function open(address) {
  if (timer === null) {
    timer = setInterval(list, LIST_MS);
    byId("run-filter").oninput = list;
  }
  await list();
  const wanted = address.split("+").filter((name) => names.includes(name));
  select(wanted.length > 0 ? wanted : names.slice(0, 1));
}

/** Stops following. */
export function close() {
  clearInterval(timer);
  timer = null;
  for (const name of [...chosen.keys()]) leave(name);
}

/* The list */

async function list() {
  let runs;
  try {
    ({ runs } = await ask("api/runs"));
  } catch {
    // The server is away; what is shown stays, and the next look may succeed.
    return;
  }
  const wanted = byId("run-filter").value.toLowerCase();
  names = runs.map((run) => run.name);
  byId("run-none").hidden = runs.length > 0;
  const items = runs.filter((run) => run.name.toLowerCase().includes(wanted)).map((run) => {
    const on = chosen.has(run.name);
    const box = el("input", { type: "checkbox", checked: on, ariaLabel: `Lay ${run.name} over the others`, onchange: () => toggle(run.name) });
    const link = el("a", { href: `#runs/${encodeURIComponent(run.name)}` }, el("b", { textContent: run.name }), el("small", { textContent: progress(run) }));
    const item = el("li", { className: on ? "on" : "" }, box, link, run.running ? el("span", { className: "dot running", title: "A process works on it" }) : null);
    if (on) item.style.setProperty("--run", `var(--c${colourOf(run.name)})`);
    return item;
  });
  byId("run-list").replaceChildren(...items);
}

function progress(run) {
  if (run.step === null) return "no step yet";
  const of = run.steps ? ` of ${thousands(run.steps)}` : "";
  return `step ${thousands(run.step)}${of} · ${run.running ? "running" : ago(run.age)}`;
}

function toggle(name) {
  const now = [...chosen.keys()];
  const next = chosen.has(name) ? now.filter((other) => other !== name) : [...now, name].slice(-MOST);
  location.hash = `runs/${next.map(encodeURIComponent).join("+")}`;
}

const colourOf = (name) => [...chosen.keys()].indexOf(name) % COLOURS;

/* Following */

function select(wanted) {
  for (const name of [...chosen.keys()]) if (!wanted.includes(name)) leave(name);
  for (const name of wanted) if (!chosen.has(name)) follow(name);
  focus = wanted[0] ?? "";
  layout();
  list();
}

function leave(name) {
  chosen.get(name)?.source.close();
  chosen.delete(name);
}

function follow(name) {
  const run = { info: null, charts: [], curves: new Map(), lines: 0, source: new EventSource(`api/runs/${encodeURIComponent(name)}/events`) };
  const on = (kind, take) => run.source.addEventListener(kind, ({ data }) => {
    take(JSON.parse(data));
    soon();
  });
  on("run", (info) => {
    const before = run.info;
    run.info = info;
    if (name === focus && JSON.stringify(before) !== JSON.stringify(info)) about();
  });
  on("charts", (charts) => (run.charts = charts));
  on("reset", () => {
    run.curves.clear();
    run.lines = 0;
  });
  on("lines", ({ rows }) => {
    run.lines += rows.length;
    for (const row of rows) add(run.curves, row);
  });
  chosen.set(name, run);
}

/** Adds a line's numbers to the curves, those of a list by their place. */
function add(curves, { step, ...figures }) {
  const put = (key, value) => {
    if (typeof value !== "number") return;
    if (!curves.has(key)) curves.set(key, { steps: [], values: [] });
    const curve = curves.get(key);
    curve.steps.push(step);
    curve.values.push(value);
  };
  for (const [key, value] of Object.entries(figures)) {
    if (Array.isArray(value)) {
      value.forEach((item, at) => put(`${key}/${at}`, item));
      const numbers = value.filter((item) => typeof item === "number");
      if (numbers.length > 0) put(`${key}/mean`, numbers.reduce((sum, item) => sum + item, 0) / numbers.length);
    } else {
      put(key, value);
    }
  }
}

/** Draws soon, once for everything that came in the meantime. */
function soon() {
  if (drawing === 0) drawing = setTimeout(() => {
    drawing = 0;
    headline();
    heads();
    charts();
  }, 120);
}

/* The page of the chosen runs */

function layout() {
  const box = byId("run");
  if (focus === "") {
    box.replaceChildren(el("p", { className: "empty", textContent: names.length > 0 ? "Choose a run." : "" }));
    return;
  }
  const search = el("input", { type: "search", id: "chart-filter", placeholder: "Filter charts", ariaLabel: "Filter charts", value: filter, oninput: () => {
    filter = search.value;
    charts();
  } });
  const even = el("input", { type: "checkbox", checked: smoothing, onchange: () => {
    smoothing = even.checked;
    remembered.set("smoothing", smoothing);
    charts();
  } });
  box.replaceChildren(
    el("header", { id: "run-head" }),
    el("section", { id: "run-notes" }),
    el("section", { id: "run-grids" }),
    el("section", { id: "run-evaluation" }),
    el("section", { id: "run-heads" }),
    el("section", {}, el("header", { className: "curves" }, el("h2", { textContent: "Curves" }), el("label", { className: "check" }, even, "smoothed"), search), el("div", { className: "charts", id: "charts" })),
    el("section", { id: "run-recipe" }),
  );
  about();
  headline();
  charts();
  heads();
}

/** What the focused run says of itself. */
function about() {
  const info = chosen.get(focus)?.info;
  if (!info || !byId("run-notes")) return;
  headline();
  byId("run-notes").replaceChildren(...(info.notes.length > 0 ? [el("div", { className: "notes" }, ...info.notes.map((note) => el("p", { textContent: note })))] : []));
  grids(info);
  evaluation(info);
  byId("run-recipe").replaceChildren(...(info.recipe ? [el("details", {}, el("summary", {}, el("h2", { textContent: "Recipe" })), el("pre", {}, el("code", { textContent: info.recipe })))] : []));
}

function headline() {
  const run = chosen.get(focus);
  const box = byId("run-head");
  if (!run?.info || !box) return;
  const several = chosen.size > 1;
  const fact = (label, value) => el("div", {}, el("dt", { textContent: label }), el("dd", { textContent: value }));
  const facts = [];
  const last = Math.max(...[...run.curves.values()].map((curve) => curve.steps.at(-1)), 0);
  facts.push(fact("step", run.info.steps ? `${thousands(last)} of ${thousands(run.info.steps)}` : thousands(last)));
  for (const key of run.info.headline) {
    const values = run.curves.get(key)?.values;
    if (!values) continue;
    const tail = values.slice(-Math.ceil(values.length / 10));
    facts.push(fact(`${key}, last tenth`, short(tail.reduce((sum, value) => sum + value, 0) / tail.length)));
  }
  facts.push(fact("grids", thousands(run.info.samples.length)));
  const others = [...chosen.keys()].filter((name) => name !== focus);
  const also = several ? [el("p", { className: "small", textContent: `with ${others.join(", ")} laid over it` })] : [];
  box.replaceChildren(el("p", { className: "eyebrow", textContent: run.info.title }), el("h1", { textContent: focus }), ...also, el("dl", { className: "facts" }, ...facts));
}

/** The grids: the newest, and a slider through all of them. */
function grids({ samples }) {
  const box = byId("run-grids");
  if (samples.length === 0) {
    box.replaceChildren();
    return;
  }
  const old = box.querySelector("input[type=range]");
  const wasLast = !old || old.value === old.max;
  const at = wasLast ? samples.length - 1 : Math.min(Number(old.value), samples.length - 1);
  const picture = el("img", { className: "grid-picture", alt: "" });
  const words = el("span", {});
  const slider = el("input", { type: "range", min: 0, max: samples.length - 1, step: 1, ariaLabel: "Step of the grid", oninput: () => go(Number(slider.value)) });
  const go = (place) => {
    slider.value = place;
    // The time it was written keeps a cache from showing an older one of the same name.
    picture.src = `api/runs/${encodeURIComponent(focus)}/samples/${samples[place].step}?t=${samples[place].time}`;
    picture.alt = `Sample grid, step ${samples[place].step}`;
    words.textContent = `step ${thousands(samples[place].step)}`;
  };
  go(at);
  slider.hidden = samples.length < 2;
  box.replaceChildren(el("h2", { textContent: "Samples" }), el("figure", { className: "samples" }, picture, el("figcaption", {}, slider, words)));
}

/** The evaluation, as the report shows it. */
function evaluation({ evaluation: table, compared }) {
  const box = byId("run-evaluation");
  if (!table) {
    box.replaceChildren();
    return;
  }
  const number = ({ text, notes, best }) => el("td", { className: "number" }, el("span", { className: best ? "best" : "", textContent: text }), ...notes.map((note) => el("small", { textContent: note })));
  const head = el("tr", {}, el("th", { scope: "col", textContent: "model" }), el("th", { scope: "col", textContent: "pictures" }),
    ...table.metrics.map(({ name, arrow }) => el("th", { scope: "col", className: "number" }, name, arrow ? el("i", { textContent: ` ${arrow}` }) : null)), el("th", { scope: "col", className: "number", textContent: "seconds" }));
  const lines = table.lines.map((line) => el("tr", {}, el("th", { scope: "row" }, line.model, line.how ? el("small", { textContent: line.how }) : null),
    el("td", {}, line.split, el("small", { textContent: line.of })), ...line.values.map(number), number(line.speed)));
  box.replaceChildren(el("h2", { textContent: "Evaluation" }), el("div", { className: "scroll" }, el("table", { className: "evaluation" }, el("thead", {}, head), el("tbody", {}, ...lines))),
    el("p", { className: "small", textContent: "Arrows point to the better side; the best of each set of captions is underlined. ± is a 95 % interval." }));
  if (compared) box.append(el("img", { className: "grid-picture", src: `api/runs/${encodeURIComponent(focus)}/compared?t=${compared}`, alt: "Pictures of the same captions: one row a caption, one column a model" }));
}

/** Whether each head still teaches: mean logits of real and fake pictures, and the share on their right side of zero. */
function heads() {
  const run = chosen.get(focus);
  const box = byId("run-heads");
  if (!run?.info || !box) return;
  const recent = (key) => {
    const values = run.curves.get(key)?.values.slice(-20);
    return values?.length > 0 ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  };
  const { won, dead_gap, dead_logit } = run.info.health;
  const rows = [];
  for (let at = 0; run.curves.has(`logits_real/${at}`); at++) {
    const [real, fake, rightReal, rightFake] = ["logits_real", "logits_fake", "sign_real", "sign_fake"].map((key) => recent(`${key}/${at}`));
    let says = "tells them apart";
    if (Math.max(Math.abs(real), Math.abs(fake)) < dead_logit && Math.abs(real - fake) < dead_gap) says = "tells nothing yet";
    else if (rightReal > won && rightFake > won) says = "has won";
    rows.push(el("tr", { className: says === "tells them apart" ? "" : "odd" }, el("th", { scope: "row", textContent: `head ${at}` }), ...[real, fake].map((value) => el("td", { className: "number", textContent: value === null ? "–" : value.toFixed(3) })),
      ...[rightReal, rightFake].map((share) => el("td", {}, share === null ? "–" : meter(share, won))), el("td", { textContent: says })));
  }
  if (rows.length === 0) {
    box.replaceChildren();
    return;
  }
  const head = ["", "logit, real", "logit, fake", "real, right side", "fake, right side", ""].map((text, at) => el("th", { scope: "col", className: at === 1 || at === 2 ? "number" : "", textContent: text }));
  box.replaceChildren(el("h2", { textContent: "Heads" }), el("div", { className: "scroll" }, el("table", { className: "heads" }, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows))),
    el("p", { className: "small", textContent: "Means of the last 20 lines. A head teaches while it tells real pictures from made ones without being sure of all of them." }));
}

function meter(share, high) {
  const bar = el("span", {});
  bar.style.width = `${Math.round(share * 100)}%`;
  return el("span", { className: share > high ? "meter full" : "meter", title: `${(share * 100).toFixed(1)} %` }, bar, el("small", { textContent: `${Math.round(share * 100)} %` }));
}

/* The charts: which figures share one is the server's list, the report's own. */

function charts() {
  const box = byId("charts");
  if (!box) return;
  const wanted = filter.toLowerCase();
  const several = chosen.size > 1;
  const merged = new Map();
  for (const [name, run] of chosen) {
    for (const { title, note, curves } of run.charts) {
      if (!merged.has(title)) merged.set(title, { note, curves: [], figures: [] });
      const one = merged.get(title);
      for (const { label, figure } of curves) {
        const points = run.curves.get(figure);
        if (!points || !`${title} ${label}`.toLowerCase().includes(wanted)) continue;
        if (!one.figures.includes(figure)) one.figures.push(figure);
        const place = one.figures.indexOf(figure);
        one.curves.push({
          label: several ? `${name} · ${label}` : label, colour: several ? colourOf(name) : place % COLOURS, dash: several ? place : 0, ...points,
        });
      }
    }
  }
  const figures = [...merged].filter(([, { curves }]) => curves.length > 0).map(([title, { note, curves }]) => chart(title, note, curves, smoothing));
  box.replaceChildren(...figures);
  if (figures.length === 0) box.append(el("p", { className: "empty", textContent: wanted ? "No chart has such a name." : "No figures yet." }));
  for (const figure of figures) figure.redraw();
}

new ResizeObserver(() => {
  for (const figure of document.querySelectorAll("#charts .chart")) figure.redraw();
}).observe(byId("run"));
