// A picture on which a part can be framed: drawn, moved and resized with mouse, finger or keys.

import { announce, debounced, make, placeAt, setVars } from "./dom.js";
import { moved, resized, spanned } from "./geometry.js";
import { t } from "./i18n.js";

/** @typedef {import("./geometry.js").Box} Box */

const EDGES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEP = 0.02;
const FINE_STEP = 0.005;
/** Pixels that a pointer goes before it draws: a tap draws nothing. */
const SLACK = 5;
/** Milliseconds without another key until a move by keys counts as done. */
const PAUSE = 250;
const MIDDLE = /** @type {Box} */ ([0.25, 0.25, 0.75, 0.75]);

export class Stage {
  /** @type {Box | null} */
  #box = null;
  #frame;
  #image;
  #drag = null;
  #onChange;
  #onTap;
  #isEager;

  /**
   * @param {{onChange: (box: Box | null) => void, onTap?: (at: {x: number, y: number}) => void, isEager?: boolean}} how
   *   `onChange` is told each box that is done; `onTap` of a click that drew nothing. On a stage that is not
   *   eager a finger scrolls the page unless it is on the frame, so that tall pictures can be passed.
   */
  constructor({ onChange, onTap = () => {}, isEager = false }) {
    this.#onChange = onChange;
    this.#onTap = onTap;
    this.#isEager = isEager;
    this.#image = make("img", { draggable: "false", decoding: "async" });
    this.#frame = make(
      "div",
      { class: "frame", role: "application", tabindex: "0", hidden: true, on: { keydown: (event) => this.#onKey(event) } },
      ...EDGES.map((edges) => make("span", { class: `handle ${edges}`, "data-edges": edges, "aria-hidden": "true" })),
    );
    this.element = make("div", { class: isEager ? "stage eager" : "stage" }, this.#image, this.#frame);
    this.element.addEventListener("pointerdown", (event) => this.#onDown(event));
    this.element.addEventListener("pointermove", (event) => this.#onMove(event));
    this.element.addEventListener("pointerup", (event) => this.#onUp(event));
    this.element.addEventListener("pointercancel", () => this.#onCancel());
    this.#image.addEventListener("load", () => this.#setSize(this.#image.naturalWidth, this.#image.naturalHeight));
  }

  /** Show a picture; its size, where it is known, keeps the layout still while it loads. */
  show({ src, alt, width, height, onError = () => {} }) {
    this.#setSize(width ?? 4, height ?? 3);
    this.#image.onerror = onError;
    this.#image.alt = alt;
    this.#image.src = src;
  }

  #setSize(width, height) {
    setVars(this.element, { "--ratio": width / height });
  }

  /** Put something between the picture and the frame. @param {Element} layer */
  addLayer(layer) {
    this.#frame.before(layer);
  }

  get box() {
    return this.#box;
  }

  set box(box) {
    this.#box = box;
    this.#frame.hidden = box === null;
    this.element.classList.toggle("framed", box !== null);
    if (box === null) return;
    placeAt(this.#frame, box);
    this.describe();
  }

  /** Say where the frame is, in the language of the page. */
  describe() {
    if (this.#box === null) return;
    this.#frame.setAttribute("aria-roledescription", t("box.role"));
    this.#frame.setAttribute("aria-label", t("box.label", valuesOf(this.#box)));
  }

  /** Frame a part, the middle unless another is given, and take the keyboard there. */
  frame(box = this.#box ?? MIDDLE) {
    this.#commit(box);
    this.#frame.focus();
  }

  clear() {
    if (this.#box === null) return;
    const hadFocus = this.#frame.contains(document.activeElement);
    this.#commit(null);
    announce(t("box.cleared"));
    if (hadFocus) this.element.dispatchEvent(new CustomEvent("framecleared"));
  }

  #commit(box) {
    this.box = box;
    this.#onChange(box);
  }

  #commitSoon = debounced(() => {
    if (this.#box === null) return;
    announce(t("box.moved", valuesOf(this.#box)));
    this.#onChange(this.#box);
  }, PAUSE);

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    if (["Delete", "Backspace", "Escape"].includes(event.key)) {
      this.clear();
    } else if (event.key in ARROWS) {
      const step = event.altKey || event.ctrlKey ? FINE_STEP : STEP;
      const [dx, dy] = ARROWS[event.key].map((way) => way * step);
      this.box = event.shiftKey ? resized(this.#box, "se", dx, dy) : moved(this.#box, dx, dy);
      this.#commitSoon();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {PointerEvent} event */
  #onDown(event) {
    if (event.button !== 0 || this.#drag !== null) return;
    const target = /** @type {Element} */ (event.target);
    const edges = target.getAttribute("data-edges");
    const isOnFrame = this.#frame.contains(target);
    if (event.pointerType === "touch" && !this.#isEager && !isOnFrame) return;
    const act = edges ? "resize" : isOnFrame ? "move" : "draw";
    this.#drag = { act, edges, from: this.#at(event), box: this.#box, x: event.clientX, y: event.clientY, moves: false };
    this.element.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  #onMove(event) {
    const drag = this.#drag;
    if (drag === null) return;
    drag.moves ||= Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > SLACK;
    if (!drag.moves) return;
    const at = this.#at(event);
    const [dx, dy] = [at.x - drag.from.x, at.y - drag.from.y];
    if (drag.act === "draw") this.box = spanned(drag.from, at);
    else if (drag.act === "move") this.box = moved(drag.box, dx, dy);
    else this.box = resized(drag.box, drag.edges, dx, dy);
  }

  /** @param {PointerEvent} event */
  #onUp(event) {
    const drag = this.#drag;
    if (drag === null) return;
    this.#drag = null;
    if (drag.moves) this.#commit(this.#box);
    else if (drag.act === "draw") this.#onTap(this.#at(event));
    if (this.#box !== null && (drag.moves || drag.act !== "draw")) this.#frame.focus({ preventScroll: true });
  }

  #onCancel() {
    if (this.#drag?.moves) this.box = this.#drag.box;
    this.#drag = null;
  }

  #at(event) {
    const { left, top, width, height } = this.element.getBoundingClientRect();
    return { x: (event.clientX - left) / width, y: (event.clientY - top) / height };
  }
}

/** @param {Box} box */
const valuesOf = ([left, top, right, bottom]) => ({ left, top, right, bottom });
