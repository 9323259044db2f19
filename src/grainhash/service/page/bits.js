// The bits of two codes side by side: which agree and which differ.

import { makeSvg } from "./dom.js";

const BITS_A_ROW = 64;
const GAP = 0.18;

/** Draw into an SVG element. @param {SVGElement} strip @param {number} n @param {number[]} differing positions */
export function drawBits(strip, n, differing) {
  const isDifferent = new Set(differing);
  const positions = Array.from({ length: n }, (_, at) => at);
  const rows = Math.ceil(n / BITS_A_ROW);
  strip.setAttribute("viewBox", `0 0 ${Math.min(n, BITS_A_ROW)} ${1.6 * rows}`);
  strip.replaceChildren(
    makeSvg("path", { class: "agree", d: squares(positions.filter((at) => !isDifferent.has(at))) }),
    makeSvg("path", { class: "differ", d: squares(differing) }),
  );
}

function squares(positions) {
  const side = 1 - GAP;
  return positions
    .map((at) => `M${at % BITS_A_ROW} ${1.6 * Math.floor(at / BITS_A_ROW)}h${side}v${1.6 - GAP}h${-side}z`)
    .join("");
}
