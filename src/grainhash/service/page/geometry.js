// Boxes on pictures: pure functions. A box is left, top, right and bottom as fractions of the upright picture.

/**
 * @typedef {[number, number, number, number]} Box
 * @typedef {{x: number, y: number}} Point fractions of the picture, too
 */

/** No side of a box that is drawn or resized is shorter than this share of the picture's. */
export const SHORTEST = 0.03;

const clamp = (value, low = 0, high = 1) => Math.min(Math.max(value, low), high);

/** The box between two corners. @param {Point} a @param {Point} b @returns {Box} */
export function spanned(a, b) {
  const [x0, x1] = stretched(clamp(Math.min(a.x, b.x)), clamp(Math.max(a.x, b.x)));
  const [y0, y1] = stretched(clamp(Math.min(a.y, b.y)), clamp(Math.max(a.y, b.y)));
  return [x0, y0, x1, y1];
}

/** A side that is long enough, within the picture. */
function stretched(low, high) {
  if (high - low >= SHORTEST) return [low, high];
  const start = clamp(low, 0, 1 - SHORTEST);
  return [start, start + SHORTEST];
}

/** The box moved, as far as the picture goes. @param {Box} box @returns {Box} */
export function moved([x0, y0, x1, y1], dx, dy) {
  const [right, down] = [clamp(dx, -x0, 1 - x1), clamp(dy, -y0, 1 - y1)];
  return [x0 + right, y0 + down, x1 + right, y1 + down];
}

/** The box with some edges moved: `edges` has letters of n, e, s and w. @param {Box} box @returns {Box} */
export function resized([x0, y0, x1, y1], edges, dx, dy) {
  return [
    edges.includes("w") ? clamp(x0 + dx, 0, x1 - SHORTEST) : x0,
    edges.includes("n") ? clamp(y0 + dy, 0, y1 - SHORTEST) : y0,
    edges.includes("e") ? clamp(x1 + dx, x0 + SHORTEST, 1) : x1,
    edges.includes("s") ? clamp(y1 + dy, y0 + SHORTEST, 1) : y1,
  ];
}

/** @param {Box | null | undefined} box */
export const isWhole = (box) => !box || (box[0] <= 0 && box[1] <= 0 && box[2] >= 1 && box[3] >= 1);

/** @param {Box} box @param {Point} point */
export const contains = ([x0, y0, x1, y1], { x, y }) => x0 <= x && x <= x1 && y0 <= y && y <= y1;

/** @param {Box} box */
export const areaOf = ([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0);

/** The smallest of some boxes that a point is in. @param {Box[]} boxes @param {Point} point @returns {Box | null} */
export function smallestAt(boxes, point) {
  const around = boxes.filter((box) => contains(box, point));
  return around.sort((a, b) => areaOf(a) - areaOf(b))[0] ?? null;
}
