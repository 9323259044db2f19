// Pictures of the gallery side by side, each a button that opens it.

import { make } from "./dom.js";
import { thumbnail } from "./thumbnail.js";

const SIDE = 384;

/**
 * @param {{id: number, name: string, width: number, height: number}} picture
 * @param {() => void} open
 * @param {Node[]} [notes] below its name
 */
export function wallItem(picture, open, notes = []) {
  const { id, name, width, height } = picture;
  const button = make("button", { type: "button", class: "picture", label: () => name, on: { click: open } },
    thumbnail(picture, { side: SIDE }),
    make("span", { class: "name", text: name }),
    ...notes);
  return make("li", { "data-id": id, vars: { "--ratio": width / height } }, button);
}
