// Contact sheets: pictures below a heading, each a button that opens it among the others of its sheet.

import { make } from "./dom.js";
import { wallItem } from "./wall.js";

/**
 * @param {HTMLElement} title
 * @param {any[]} pictures those that are shown, at least one
 * @param {number} size how many there are
 * @param {(pictures: any[], at: number) => void} open
 * @param {(picture: any) => Node[]} [notesOf] below a picture's name
 */
export function sheetOf(title, pictures, size, open, notesOf = () => []) {
  const id = `sheet-${pictures[0].id}`;
  title.id = id;
  const items = pictures.map((picture, at) => wallItem(picture, () => open(pictures, at), notesOf(picture)));
  return make("section", { class: "sheet", "aria-labelledby": id },
    title,
    make("p", { class: "soft", say: ["groups.size", { n: size }] }),
    make("ul", { class: "wall" }, ...items),
    restOf(size - pictures.length));
}

/** How many are not shown; nothing where all are. @param {number} n */
export const restOf = (n) => (n > 0 ? make("p", { class: "soft", say: ["groups.rest", { n }] }) : null);
