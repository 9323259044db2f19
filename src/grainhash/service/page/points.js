// Matched points: lines from places in one picture to places in another, over both.

import { makeSvg } from "./dom.js";

/** Lines at most, evenly chosen: more hide what they show. */
const LINES = 60;
const RADIUS = 3.5;

/** A layer over two pictures; it follows when they change their size. */
export class PointLines {
  #pairs = [];
  #sides;

  /** @param {HTMLElement} around holds both pictures, and the layer @param {[Element, Element]} sides */
  constructor(around, sides) {
    this.#sides = sides;
    this.element = makeSvg("svg", { class: "point-lines", "aria-hidden": "true" });
    around.append(this.element);
    new ResizeObserver(() => this.#draw()).observe(around);
    sides.forEach((side) => new ResizeObserver(() => this.#draw()).observe(side));
  }

  /** @param {[number, number, number, number][]} pairs places in the one and the other, as fractions */
  show(pairs) {
    const step = Math.max(pairs.length / LINES, 1);
    this.#pairs = Array.from({ length: Math.min(pairs.length, LINES) }, (_, n) => pairs[Math.floor(n * step)]);
    this.#draw();
  }

  #draw() {
    const frame = this.element.getBoundingClientRect();
    const [from, to] = this.#sides.map((side) => side.getBoundingClientRect());
    const at = (rect, x, y) => [rect.left - frame.left + x * rect.width, rect.top - frame.top + y * rect.height];
    const ends = this.#pairs.map(([qx, qy, hx, hy]) => [...at(from, qx, qy), ...at(to, hx, hy)]);
    const path = ends.map(([x0, y0, x1, y1]) => `M${x0} ${y0}L${x1} ${y1}`).join("");
    const dots = ends.flatMap(([x0, y0, x1, y1]) => [[x0, y0], [x1, y1]]);
    this.element.setAttribute("viewBox", `0 0 ${Math.max(frame.width, 1)} ${Math.max(frame.height, 1)}`);
    this.element.replaceChildren(
      makeSvg("path", { class: "casing", d: path }),
      makeSvg("path", { class: "line", d: path }),
      ...dots.map(([x, y]) => makeSvg("circle", { cx: x, cy: y, r: RADIUS })),
    );
  }
}
