// Heat maps: a few cells become a smooth picture, dark where a place counts for nothing, bright where it speaks
// for the match, blue where it speaks against it. Colours as in explain_report.py.

/** Colours from -1 to 1: blue, black at 0, then as matplotlib's inferno. */
const COLOURS = [
  [222, 240, 255], [110, 185, 255], [40, 110, 220], [20, 50, 120],
  [0, 0, 4],
  [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164],
];

/** Pixels of the longer side that cells are smoothed to; the canvas is then scaled by the browser. */
const SIDE = 192;

/**
 * Draw a map over all of a canvas.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {number[][]} rows cells, rows from the top
 * @param {number} largest the value that is shown brightest, the same for both pictures
 */
export function drawHeat(canvas, rows, largest) {
  const [height, width] = [rows.length, rows[0].length];
  const scale = SIDE / Math.max(height, width);
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  const picture = context.createImageData(canvas.width, canvas.height);
  const columns = weightsOf(canvas.width, width);
  const lines = weightsOf(canvas.height, height);
  // Along the rows first, then down the columns: the kernel is separable.
  const wide = rows.map((row) => columns.map((taps) => mix(taps, (at) => row[at])));
  for (let y = 0; y < canvas.height; y += 1) {
    for (let x = 0; x < canvas.width; x += 1) {
      const value = mix(lines[y], (at) => wide[at][x]) / largest;
      picture.data.set(colourOf(value), 4 * (y * canvas.width + x));
    }
  }
  context.putImageData(picture, 0, 0);
}

/** The largest magnitude of some maps. @param {...number[][]} maps */
export const largestOf = (...maps) => Math.max(...maps.flat(2).map(Math.abs), Number.MIN_VALUE);

/** For each of `n` pixels the cells that it is mixed of, and their weights: bicubic, by Catmull and Rom. */
function weightsOf(n, cells) {
  return Array.from({ length: n }, (_, pixel) => {
    const at = ((pixel + 0.5) * cells) / n - 0.5;
    const first = Math.floor(at);
    return [-1, 0, 1, 2].map((step) => [clamp(first + step, cells - 1), cubic(at - first - step)]);
  });
}

const clamp = (value, high) => Math.min(Math.max(value, 0), high);

function cubic(distance) {
  const d = Math.abs(distance);
  if (d < 1) return 1.5 * d ** 3 - 2.5 * d ** 2 + 1;
  if (d < 2) return -0.5 * d ** 3 + 2.5 * d ** 2 - 4 * d + 2;
  return 0;
}

const mix = (taps, valueAt) => taps.reduce((sum, [at, weight]) => sum + weight * valueAt(at), 0);

function colourOf(value) {
  const place = ((clamp(value + 1, 2)) / 2) * (COLOURS.length - 1);
  const first = Math.min(Math.floor(place), COLOURS.length - 2);
  const share = place - first;
  const [low, high] = [COLOURS[first], COLOURS[first + 1]];
  return [...low.map((level, channel) => level + share * (high[channel] - level)), 255];
}
