// The page's frame: which part is shown, light or dark, keys and their help.

import * as live from "./live.js";
import * as runs from "./runs.js";
import { byId, el, remembered } from "./util.js";

/* Light or dark: the system's choice until one is made here. */

const THEMES = { auto: "", light: "light", dark: "dark" };

function theme(change) {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  let now = remembered.get("theme", "auto");
  if (change) now = now === "auto" ? (dark ? "light" : "dark") : "auto";
  remembered.set("theme", now);
  document.documentElement.dataset.theme = THEMES[now] ?? "";
}

/* Which part is shown */

function route() {
  const [page, ...rest] = location.hash.slice(1).split("/");
  const at = page === "runs" ? "runs" : "live";
  for (const main of document.querySelectorAll("main")) main.hidden = main.dataset.page !== at;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === at) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = at === "runs" ? "ADD · runs" : "ADD · live";
  if (at === "runs") runs.open(rest.map(decodeURIComponent).join("/"));
  else runs.close();
}

const isLive = () => !byId("live").hidden;

/* Keys: those of the pictures work where the pictures are. */

const KEYS = [
  ["/", "write the prompt", live.actions.focus],
  ["o g c d m", "one picture, 16 noises, teacher, draw, mix", null],
  ["1 2 4", "steps", null],
  ["← →", "the seed before, the next", null],
  ["r", "another seed", live.actions.random],
  ["l", "keep the seed while typing, or not", live.actions.lock],
  ["w", "walk through seeds", live.actions.walk],
  ["k", "keep in the history", live.actions.keep],
  ["s", "download", live.actions.download],
  ["x", "crisp or smooth", live.actions.scaling],
  ["z", "undo a stroke", live.actions.undo],
  ["t", "light or dark", () => theme(true)],
  ["v", "pictures or runs", () => (location.hash = isLive() ? "runs" : "live")],
  ["?", "this help", () => byId("help").showModal()],
];
const ANYWHERE = ["t", "v", "?"];
const SEVERAL = {
  o: () => live.actions.mode("one"),
  g: () => live.actions.mode("grid"),
  c: () => live.actions.mode("compare"),
  d: () => live.actions.mode("draw"),
  m: () => live.actions.mode("mix"),
  1: () => live.actions.steps(1),
  2: () => live.actions.steps(2),
  4: () => live.actions.steps(4),
  ArrowLeft: () => live.actions.seed(-1),
  ArrowRight: () => live.actions.seed(1),
};
const DOES = { ...SEVERAL, ...Object.fromEntries(KEYS.filter(([, , does]) => does).map(([key, , does]) => [key, does])) };

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const field = event.target.closest("input, select, textarea");
  if (field) {
    if (event.key === "Escape") field.blur();
    // A slider has its own arrows; letters are free there.
    if (field.type !== "range" || event.key.startsWith("Arrow")) return;
  }
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const does = DOES[name];
  if (!does || !(isLive() || ANYWHERE.includes(name))) return;
  event.preventDefault();
  does();
}

function help() {
  const keys = KEYS.flatMap(([names, what]) => [
    el("dt", {}, ...names.split(" ").map((name) => el("kbd", { textContent: name.length === 1 ? name.toUpperCase() : name }))),
    el("dd", { textContent: what }),
  ]);
  byId("keys").replaceChildren(...keys);
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("help").addEventListener("click", ({ target }) => {
    if (target === byId("help") || target.closest("[data-close]")) byId("help").close();
  });
}

theme(false);
byId("theme").addEventListener("click", () => theme(true));
help();
addEventListener("keydown", key);
addEventListener("hashchange", route);
await live.begin();
route();
if (isLive() && matchMedia("(hover: hover)").matches) byId("prompt").focus();
