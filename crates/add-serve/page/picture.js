// A figure that shows the pictures of one lane: canvas, times, and what it was made from.

import { duration, el } from "./util.js";

/** The picture's own pixels on a canvas, enlarged by the style sheet; below it a line of words. */
export class Figure {
  constructor(lane, label = "") {
    this.lane = lane;
    this.canvas = el("canvas", { className: "picture", width: 32, height: 32 });
    this.canvas.setAttribute("role", "img");
    this.words = el("span", { className: "times" });
    this.label = el("b", { textContent: label });
    this.node = el("figure", { className: "made" }, this.canvas, el("figcaption", {}, this.label, this.words));
    this.node.dataset.lane = lane;
    /** What is shown: `{fields, header, png}`. */
    this.shown = null;
  }

  /** Draws an answer; resolves when it is on the canvas. */
  async show(fields, { header, png }, last) {
    const blob = new Blob([png], { type: "image/png" });
    const bitmap = await createImageBitmap(blob);
    // Decoding is not in order: an older picture may be ready later.
    if (this.shown && this.shown.header.id > header.id) return;
    if (this.canvas.width !== bitmap.width || this.canvas.height !== bitmap.height) {
      this.canvas.width = bitmap.width;
      this.canvas.height = bitmap.height;
    }
    this.canvas.getContext("2d").drawImage(bitmap, 0, 0);
    this.canvas.setAttribute("aria-label", fields.prompt);
    bitmap.close();
    this.shown = { fields: { ...fields, seed: header.seed ?? fields.seed }, header, png: blob };
    if (last) this.#tell(header);
  }

  /** Empties the figure. */
  blank() {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.words.textContent = "";
    this.shown = null;
  }

  #tell(header) {
    this.words.textContent = duration(header.ms_compute);
    this.words.title = `waited ${duration(header.ms_queue)}, computed ${duration(header.ms_compute)}`;
  }
}
