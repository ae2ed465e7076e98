// Small helpers that every part of the page uses.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element: its attributes, listeners (`onclick`) and properties (`textContent`), then its children. */
export function el(name, fields = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(fields)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && key !== "list" && key !== "role") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** A symbol of icon.svg. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `assets/icon.svg#${name}`);
  svg.append(use);
  return svg;
}

/** What the page remembers between visits, as JSON in the browser's storage. */
export const remembered = {
  get(key, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`add.${key}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  set(key, value) {
    try {
      localStorage.setItem(`add.${key}`, JSON.stringify(value));
    } catch {
      // A full or forbidden storage costs the memory, not the page.
    }
  },
};

/** A number of four digits without trailing zeros, as the report writes it. */
export function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, "e").replace("e+", "e");
  return String(Number(value.toPrecision(4)));
}

/** `12345` as `12,345`. */
export const thousands = (number) => Math.round(number).toLocaleString("en-US");

/** Milliseconds for a caption: `4.2 ms`, `1.31 s`. */
export function duration(ms) {
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

/** How long ago, in words. */
export function ago(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60]];
  for (const [unit, size] of units) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return "now";
}

/** Asks the server for JSON. */
export async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${(await answer.text()).slice(0, 200)}`);
  return answer.json();
}
