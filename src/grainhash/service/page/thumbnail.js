// A picture of the gallery, small: it loads when it comes near the screen, and its place is kept until then.

import { thumbnailUrl } from "./api.js";
import { make, placeAt } from "./dom.js";
import { isWhole } from "./geometry.js";

/**
 * @param {{id: number, width: number, height: number}} picture
 * @param {{side: number, box?: number[] | null, alt?: string}} how
 */
export function thumbnail({ id, width, height }, { side, box = null, alt = "" }) {
  const image = make("img", {
    src: thumbnailUrl(id, side), alt, width, height,
    loading: "lazy", decoding: "async", draggable: "false", elementtiming: "thumbnail",
  });
  image.addEventListener("error", () => figure.classList.add("gone"));
  const figure = make("span", { class: "thumbnail", vars: { "--ratio": width / height } }, image);
  frameMatch(figure, box);
  return figure;
}

/** Frame the part of a thumbnail that matched; nothing where it is the whole. */
export function frameMatch(figure, box) {
  figure.querySelector(".match")?.remove();
  if (isWhole(box)) return;
  const frame = make("span", { class: "match" });
  placeAt(frame, box);
  figure.append(frame);
}
