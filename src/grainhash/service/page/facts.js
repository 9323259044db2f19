// A list of what is known: words on the left, texts on the right.

import { make } from "./dom.js";

/** @param {string} key of i18n.js @param {() => string} text @returns {Node[]} nothing where there is no text */
export function fact(key, text) {
  return text() ? [make("dt", { say: key }), make("dd", { say: () => text() })] : [];
}

/** The metadata of a picture, as it is. @param {Record<string, unknown>} meta @returns {Node[]} */
export function metadata(meta) {
  return Object.entries(meta).flatMap(([key, value]) => [
    make("dt", { class: "key", text: key }),
    make("dd", { text: typeof value === "object" ? JSON.stringify(value) : String(value) }),
  ]);
}
