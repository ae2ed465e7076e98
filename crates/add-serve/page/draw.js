// A canvas to draw on, from which a picture begins.

import { el } from "./util.js";

const SIDE = 512;
const COLOURS = [
  "#1d1c1a", "#ffffff", "#e23b2e", "#f28c28", "#ffd23f", "#6cbf4b", "#2a8c6e", "#3aa5dc", "#2f4fb3", "#7b57a8", "#ee8ab8", "#8a5a3c",
];
const UNDO = 20;

export class Drawing {
  #colour = COLOURS[2];
  #size = 56;
  #last = null;
  #past = [];

  /** `changed` is called after every stroke's piece. */
  constructor(changed) {
    this.changed = changed;
    this.canvas = el("canvas", { className: "drawing", width: SIDE, height: SIDE, ariaLabel: "Drawing: what the picture begins from" });
    this.canvas.setAttribute("role", "img");
    this.pen = this.canvas.getContext("2d", { willReadFrequently: true });
    this.pen.lineCap = this.pen.lineJoin = "round";
    this.#fill("#ffffff");
    this.canvas.addEventListener("pointerdown", (event) => this.#begin(event));
    this.canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => (this.#last = null));
    this.tools = this.#tools();
  }

  /** The drawing at `side` pixels as base64 of a PNG. */
  png(side) {
    const small = el("canvas", { width: side, height: side });
    const pen = small.getContext("2d");
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.canvas, 0, 0, side, side);
    return small.toDataURL("image/png").split(",")[1];
  }

  /** Puts a picture under the brush. */
  load(picture) {
    this.#remember();
    this.pen.imageSmoothingEnabled = true;
    this.pen.drawImage(picture, 0, 0, SIDE, SIDE);
    this.changed();
  }

  undo() {
    const past = this.#past.pop();
    if (past) this.pen.putImageData(past, 0, 0);
    this.changed();
  }

  #tools() {
    const colours = COLOURS.map((colour) => {
      const button = el("button", { type: "button", className: "colour", title: colour, ariaLabel: `Colour ${colour}`, onclick: () => this.#choose(colour) });
      button.style.background = colour;
      button.dataset.colour = colour;
      return button;
    });
    const size = el("input", { type: "range", min: 8, max: 160, value: this.#size, ariaLabel: "Brush size", oninput: () => (this.#size = Number(size.value)) });
    const box = el(
      "div",
      { className: "tools" },
      el("div", { className: "colours", role: "group", ariaLabel: "Colour" }, ...colours),
      el("div", { className: "row" }, size,
        el("button", { type: "button", textContent: "Fill", title: "Fill with the colour", onclick: () => { this.#remember(); this.#fill(this.#colour); this.changed(); } }),
        el("button", { type: "button", textContent: "Undo", title: "Undo (Z)", onclick: () => this.undo() }),
        el("button", { type: "button", textContent: "Clear", onclick: () => { this.#remember(); this.#fill("#ffffff"); this.changed(); } })),
    );
    this.buttons = colours;
    this.#choose(this.#colour);
    return box;
  }

  #choose(colour) {
    this.#colour = colour;
    for (const button of this.buttons) button.setAttribute("aria-pressed", String(button.dataset.colour === colour));
  }

  #fill(colour) {
    this.pen.fillStyle = colour;
    this.pen.fillRect(0, 0, SIDE, SIDE);
  }

  #remember() {
    this.#past.push(this.pen.getImageData(0, 0, SIDE, SIDE));
    if (this.#past.length > UNDO) this.#past.shift();
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * SIDE) / box.width, ((event.clientY - box.top) * SIDE) / box.height];
  }

  #begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.#remember();
    this.#last = this.#at(event);
    this.#line(this.#last);
  }

  #move(event) {
    if (this.#last) this.#line(this.#at(event));
  }

  #line(to) {
    this.pen.strokeStyle = this.#colour;
    this.pen.lineWidth = this.#size;
    this.pen.beginPath();
    this.pen.moveTo(...this.#last);
    this.pen.lineTo(...to);
    this.pen.stroke();
    this.#last = to;
    this.changed();
  }
}
