// Why a hit is a hit, in a sentence, from the numbers of the answer.

import { isWhole } from "./geometry.js";
import { inTwoDigits, t } from "./i18n.js";

/**
 * @param {any} hit
 * @param {number} nBits length of the codes that were compared
 * @param {boolean} isSelf whether the hit is the query itself
 */
export function reasonOf(hit, nBits, isSelf = false) {
  if (isSelf && isWhole(hit.box)) return t("reason.self");
  const why = whyOf(hit, nBits);
  return hit.points?.places ? t("reason.points", { places: hit.points.places, why }) : why;
}

function whyOf({ box, distance, whole_distance: whole, part_distance: part }, n) {
  if (!isWhole(box)) return t("reason.part", { distance, n, whole });
  if (part === null || part === undefined) return t("reason.whole", { distance, n });
  return t("reason.wholeParts", { distance, n, part });
}

/** A score as it is shown: three digits, and never 1 unless it is. */
export const scoreText = (score) => (score < 1 ? Math.min(score, 0.999) : 1).toFixed(3);

/** How many matches as good chance gives. */
export const chanceText = (n) => t("detail.chanceValue", { n: inTwoDigits(n) });
