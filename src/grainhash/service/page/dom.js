// A tiny helper to build elements. Text is always set as text, never parsed as HTML: names and metadata may
// hold anything.

import { say, sayAttribute } from "./i18n.js";

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/**
 * Make an element.
 *
 * @param {string} tag
 * @param {Record<string, any>} [props] attributes, and some of its own: `class`, `text` (plain), `say` (a key
 *   of i18n.js, or `[key, values]`, or a function that returns a text), `label` (the same, for `aria-label`),
 *   `vars` (CSS properties), `on` (listeners). `true` sets an empty attribute; `false` and `null` none.
 * @param {...(Node | string | null)} children
 * @returns {any}
 */
export function make(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Make an SVG element; see `make`. */
export function makeSvg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.setAttribute("class", value);
    else if (name === "text") element.textContent = value;
    else if (name === "say") say(element, ...[value].flat());
    else if (name === "label") sayAttribute(element, "aria-label", ...[value].flat());
    else if (name === "placeholder") sayAttribute(element, "placeholder", ...[value].flat());
    else if (name === "vars") setVars(element, value);
    else if (name === "on") for (const [type, listen] of Object.entries(value)) element.addEventListener(type, listen);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Set CSS properties from script, which the content security policy allows. */
export function setVars(element, vars) {
  for (const [name, value] of Object.entries(vars)) element.style.setProperty(name, String(value));
}

/** Put an element over the part of its parent that a box is. */
export function placeAt(element, [x0, y0, x1, y1]) {
  const percent = (share) => `${(100 * share).toFixed(3)}%`;
  setVars(element, { left: percent(x0), top: percent(y0), width: percent(x1 - x0), height: percent(y1 - y0) });
}

/** Call `act` when no further call came for `wait` ms. */
export function debounced(act, wait) {
  let timer = 0;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...args), wait);
  };
}

/** Have a screen reader say a text that is not on the screen. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** A button with a text of i18n.js. */
export function button(key, onClick, props = {}) {
  return make("button", { type: "button", say: key, ...props, on: { click: onClick } });
}
