// The hits as a grid of cards, what can be said of the answer as a whole, and the plan of the search.

import { byId, make, setVars } from "./dom.js";
import { glide } from "./flip.js";
import { say } from "./i18n.js";
import { reasonOf, scoreText } from "./reason.js";
import { frameMatch, thumbnail } from "./thumbnail.js";

const SIDE = 384;
/** Below this score chance alone gives more than one hit as close. */
const SURE = 0.5;

/** Cards by the picture's id, so that a picture that stays keeps its element. @type {Map<number, any>} */
let cards = new Map();

/** @type {{onOpen: (rank: number) => void, onLook: (hit: any | null) => void}} */
let hooks;

/** @param {typeof hooks} given `onLook`: the hit that is pointed at or focused, or none any more */
export function initResults(given) {
  hooks = given;
}

/** A search is under way: what is there stays, fainter. */
export function showSearching() {
  byId("found").setAttribute("aria-busy", "true");
  say(byId("results-status"), "results.searching");
}

export function clearResults() {
  cards = new Map();
  show([], 0);
  byId("hits-none").hidden = true;
  byId("plan").hidden = true;
  showDone("");
}

/** The search failed or was given up; the message stands elsewhere. */
export function showDone(text) {
  byId("found").removeAttribute("aria-busy");
  say(byId("results-status"), () => text);
}

/**
 * @param {any} answer
 * @param {{isSelf: (hit: any) => boolean, isNarrowed: boolean}} how
 */
export function showAnswer(answer, { isSelf, isNarrowed }) {
  const { hits, seconds } = answer;
  const before = [...cards.values()].map((card) => card.item);
  cards = new Map(hits.map((hit) => [hit.id, cardOf(hit, answer.n_bits, isSelf(hit))]));
  const items = hits.map((hit) => cards.get(hit.id).item);
  const n = hits.findLastIndex((hit) => hit.score >= SURE) + 1;
  glide(before.filter((item) => items.includes(item)), () => show(items, n));
  byId("found").removeAttribute("aria-busy");
  const ms = Math.round(1000 * Object.values(seconds).reduce((sum, each) => sum + each, 0));
  say(byId("results-status"), "results.status", { n: hits.length, ms });
  byId("hits-none").hidden = hits.length > 0;
  say(byId("hits-none"), isNarrowed ? "results.none" : "results.nonePlain");
  showPlan(answer.plan);
}

/** @param {Element[]} items @param {number} n how many of them, the first, are surely hits */
function show(items, n) {
  byId("hits").replaceChildren(...items.slice(0, n));
  byId("hits-chance").replaceChildren(...items.slice(n));
  byId("chance").hidden = n === items.length;
  say(byId("chance"), n ? "results.chance" : "results.onlyChance");
}

/** Take the focus back to a hit, or to all of them where it is none any more. @param {number} id */
export const focusHit = (id) => (cards.get(id)?.open ?? byId("results-title")).focus();

function cardOf(hit, nBits, isSelf) {
  const card = cards.get(hit.id) ?? newCard(hit);
  card.hit = hit;
  if (String(card.box) !== String(hit.box)) frameMatch(card.figure, hit.box);
  card.box = hit.box;
  card.rank.textContent = String(hit.rank);
  say(card.facts, "hit.facts", { score: scoreText(hit.score), bits: hit.distance });
  say(card.reason, () => reasonOf(hit, nBits, isSelf));
  setVars(card.open, { "--score": hit.score });
  return card;
}

function newCard(hit) {
  const figure = thumbnail(hit, { side: SIDE });
  const [rank, facts, reason] = ["rank", "facts", "reason"].map((name) => make("span", { class: name }));
  const card = { figure, rank, facts, reason, box: null, hit, item: null, open: null };
  const look = () => hooks.onLook(card.hit);
  const leave = () => hooks.onLook(null);
  card.open = make(
    "button",
    {
      type: "button", class: "hit", "data-id": hit.id,
      on: { click: () => hooks.onOpen(card.hit.rank), pointerenter: look, pointerleave: leave, focus: look, blur: leave },
    },
    make("span", { class: "tile" }, figure),
    make("span", { class: "meter", "aria-hidden": "true" }),
    make("span", { class: "caption" }, rank, make("span", { class: "name", text: hit.name })),
    facts,
    reason,
  );
  card.item = make("li", {}, card.open);
  return card;
}

function showPlan(steps) {
  const heads = ["plan.step", "plan.what", "plan.n", "plan.ms"];
  const row = ({ name, what, n, seconds }) =>
    make("tr", {},
      make("th", { scope: "row", text: name }),
      make("td", { text: what }),
      make("td", { class: "number", text: n.toLocaleString() }),
      make("td", { class: "number", text: (1000 * seconds).toFixed(1) }));
  byId("plan").hidden = steps.length === 0;
  byId("plan-table").replaceChildren(
    make("thead", {}, make("tr", {}, ...heads.map((key) => make("th", { scope: "col", say: key })))),
    make("tbody", {}, ...steps.map(row)),
  );
}
