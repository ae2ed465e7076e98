// One chart as SVG: faint raw values, the smoothed curve over them; the pointer reads values off.
//
// Scale, smoothing and thinning are those of the report (crates/add-eval/src/report: axis.rs, smooth.rs, chart.rs).

import { el, short } from "./util.js";

const HEIGHT = 230;
const MARGIN = { top: 10, right: 14, bottom: 24, left: 52 };
const RAW_POINTS = 600;
const SMOOTH_FROM = 24;
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "1 4", "12 5", "5 2 1 2", "3 6"];

/** A curve: `{label, run, colour, dash, steps: number[], values: number[]}`. */
export function chart(title, note, curves, smoothing) {
  const smoothed = curves.map((curve) => (smoothing && noisy(curve.values) ? smooth(curve.values, curve.values.length / 40 + 1) : null));
  const axis = fit(curves.flatMap((curve, at) => (smoothed[at] ? curve.values.concat(smoothed[at]) : curve.values)));
  const head = el("figcaption", {}, el("h3", { textContent: title }), note ? el("p", { textContent: note }) : null);
  if (axis.log) head.firstChild.append(" ", el("span", { className: "tag", textContent: "log scale" }));
  const plot = el("div", { className: "plot" });
  const legend = el("ul", { className: "legend" });
  const figure = el("figure", { className: "chart" }, head, plot, legend);
  figure.dataset.title = title;

  const last = (at) => (smoothed[at] ?? curves[at].values).at(-1);
  const entries = curves.map((curve, at) => {
    const value = el("b", { textContent: short(last(at)) });
    const swatch = svg("svg", { viewBox: "0 0 22 4", class: `swatch k${curve.colour}` });
    swatch.append(svg("path", { d: "M0 2H22", "stroke-dasharray": DASHES[curve.dash % DASHES.length] }));
    legend.append(el("li", {}, swatch, curve.label, " ", value));
    return value;
  });

  const draw = () => {
    const width = Math.max(plot.clientWidth, 260);
    const steps = curves.flatMap((curve) => [curve.steps[0], curve.steps.at(-1)]);
    let [first, end] = [Math.min(...steps), Math.max(...steps)];
    if (end <= first) [first, end] = [first - 1, end + 1];
    const x = (step) => MARGIN.left + ((step - first) / (end - first)) * (width - MARGIN.left - MARGIN.right);
    const y = (value) => {
      const height = Math.min(Math.max(axis.log ? Math.log10(value) : value, axis.low), axis.high);
      return MARGIN.top + (1 - (height - axis.low) / (axis.high - axis.low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    };
    const root = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": `${title} against the training step` });
    for (const tick of axis.ticks) {
      const at = MARGIN.top + (1 - (tick.height - axis.low) / (axis.high - axis.low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
      root.append(svg("path", { class: "grid", d: `M${MARGIN.left} ${at.toFixed(1)}H${width - MARGIN.right}` }));
      root.append(words(tick.label, MARGIN.left - 8, at + 4, "end"));
    }
    for (const step of ticks(first, end, 5).filter(Number.isInteger)) root.append(words(stepLabel(step), x(step), HEIGHT - 6, "middle"));
    const line = (values, curve, kind) => {
      const points = thinned(curve.steps, values).map(([step, value]) => `${x(step).toFixed(1)} ${y(value).toFixed(1)}`);
      const shape = points.length === 1 ? `M${points[0]}h.01` : `M${points.join("L")}`;
      root.append(svg("path", { class: `${kind} k${curve.colour}${points.length === 1 ? " dot" : ""}`, d: shape, "stroke-dasharray": kind === "strong" ? DASHES[curve.dash % DASHES.length] : "" }));
    };
    // All raw values first, so that no noise lies over another curve's mean.
    curves.forEach((curve, at) => smoothed[at] && line(curve.values, curve, curves.length > 3 ? "faint many" : "faint"));
    curves.forEach((curve, at) => line(smoothed[at] ?? curve.values, curve, "strong"));
    const rule = svg("path", { class: "rule", d: "" });
    root.append(rule);
    root.addEventListener("pointermove", (event) => {
      const share = (event.clientX - root.getBoundingClientRect().left - MARGIN.left) / (width - MARGIN.left - MARGIN.right);
      const step = nearest(curves, first + Math.min(Math.max(share, 0), 1) * (end - first));
      rule.setAttribute("d", `M${x(step).toFixed(1)} ${MARGIN.top}V${HEIGHT - MARGIN.bottom}`);
      figure.dataset.at = `step ${step}`;
      curves.forEach((curve, at) => {
        const found = before(curve.steps, step);
        entries[at].textContent = found < 0 ? "–" : short((smoothed[at] ?? curve.values)[found]);
      });
    });
    root.addEventListener("pointerleave", () => {
      rule.setAttribute("d", "");
      delete figure.dataset.at;
      entries.forEach((entry, at) => (entry.textContent = short(last(at))));
    });
    plot.replaceChildren(root);
  };
  figure.redraw = draw;
  return figure;
}

function svg(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) if (value !== "") node.setAttribute(key, value);
  return node;
}

function words(text, x, y, anchor) {
  const node = svg("text", { x: x.toFixed(1), y: y.toFixed(1), "text-anchor": anchor });
  node.textContent = text;
  return node;
}

/** The last place in `steps` that is not above `step`, or -1. */
function before(steps, step) {
  let [low, high] = [0, steps.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function nearest(curves, step) {
  const found = curves.flatMap(({ steps }) => {
    const at = before(steps, step);
    return [steps[Math.max(at, 0)], steps[Math.min(at + 1, steps.length - 1)]];
  });
  return found.reduce((best, other) => (Math.abs(other - step) < Math.abs(best - step) ? other : best));
}

/** Whether a curve is noise around something; a schedule would come out with round corners that it never had. */
function noisy(values) {
  if (values.length < SMOOTH_FROM) return false;
  let [low, high, travelled] = [Infinity, -Infinity, 0];
  values.forEach((value, at) => {
    [low, high] = [Math.min(low, value), Math.max(high, value)];
    if (at > 0) travelled += Math.abs(value - values[at - 1]);
  });
  return travelled > 6 * (high - low);
}

/** A mean with weights that decay to both sides. */
function smooth(values, window) {
  const keep = 1 - 1 / Math.max(window, 1);
  const sums = (sequence) => {
    let [sum, weight] = [0, 0];
    return sequence.map((value) => {
      [sum, weight] = [sum * keep + value, weight * keep + 1];
      return [sum, weight];
    });
  };
  const forward = sums(values);
  const backward = sums(values.toReversed()).reverse();
  return values.map((value, at) => (forward[at][0] + backward[at][0] - value) / (forward[at][1] + backward[at][1] - 1));
}

/** The lowest and highest of each stretch, so that spikes stay. */
function thinned(steps, values) {
  if (values.length <= RAW_POINTS) return values.map((value, at) => [steps[at], value]);
  const stretch = Math.ceil(values.length / (RAW_POINTS / 2));
  const points = [];
  for (let from = 0; from < values.length; from += stretch) {
    let [low, high] = [from, from];
    for (let at = from; at < Math.min(from + stretch, values.length); at++) {
      if (values[at] < values[low]) low = at;
      if (values[at] > values[high]) high = at;
    }
    for (const at of low < high ? [low, high] : [high, low]) points.push([steps[at], values[at]]);
  }
  return points;
}

/** The vertical range: logarithmic where values are positive and span decades, without the outermost hundredth. */
function fit(values) {
  const sorted = Float64Array.from(values).sort();
  const quantile = (q) => sorted[Math.round((sorted.length - 1) * q)];
  const log = quantile(0) > 0 && quantile(0.98) > 50 * quantile(0.02);
  const height = (value) => (log ? Math.log10(value) : value);
  let [low, high] = [height(quantile(0.01)), height(quantile(0.99))];
  if (!log && low > 0 && low < 0.4 * high) low = 0;
  const span = high - low;
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (span <= size * 1e-9) {
    const band = size > 0 ? size * 0.5 : 1;
    [low, high] = [low - band, high + band];
  } else {
    [low, high] = [!log && low === 0 ? 0 : low - 0.06 * span, high + 0.08 * span];
  }
  return { log, low, high, ticks: log ? decades(low, high) : ticks(low, high, 5).map((tick) => ({ height: tick, label: short(tidy(tick)) })) };
}

/** Without the last bits of a sum: 0.30000000000000004 is 0.3. */
const tidy = (value) => Number(value.toPrecision(12));

/** Multiples of 1, 2, 2.5 or 5 times a power of ten. */
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((multiple) => multiple * power).find((candidate) => candidate >= rough * 0.999) ?? rough;
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.min(Math.max(last - first + 1, 0), 21) }, (_, at) => (first + at) * step);
}

function decades(low, high) {
  const multiples = high - low < 2.5 ? [1, 2, 5] : [1];
  const every = Math.max(Math.ceil((high - low) / 6), 1);
  const found = [];
  for (let decade = Math.floor(low); decade <= Math.ceil(high); decade++) {
    if (decade % every !== 0) continue;
    for (const multiple of multiples) {
      const at = Math.log10(multiple) + decade;
      if (at >= low && at <= high) found.push({ height: at, label: short(tidy(multiple * 10 ** decade)) });
    }
  }
  return found;
}

function stepLabel(step) {
  if (step >= 1e6) return `${short(step / 1e6)}M`;
  return step >= 1e4 ? `${short(step / 1e3)}k` : String(step);
}
