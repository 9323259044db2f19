// A hit beside its query: the heat map, the points that match, the bits, why, and where to search on from.

import * as api from "./api.js";
import { drawBits } from "./bits.js";
import { closeButton, keepFocus, makeDialog, stepByArrows } from "./dialog.js";
import { button, make, makeSvg, placeAt, setVars } from "./dom.js";
import { fact, metadata } from "./facts.js";
import { isWhole } from "./geometry.js";
import { drawHeat, largestOf } from "./heat.js";
import { say, sayAttribute, t } from "./i18n.js";
import { PointLines } from "./points.js";
import { chanceText, reasonOf, scoreText } from "./reason.js";
import { Stage } from "./stage.js";

/**
 * @typedef {{source: api.Source, box: api.Box | null, settings: any, answer: any, isSelf: (hit: any) => boolean,
 *   onSearch: (source: api.Source, box: api.Box | null) => void, onClose: (hit: any) => void}} Context
 */

const SIDE = 1024;
const COVER = 0.55;

/** @type {any} */
let view = null;
/** @type {Context} */
let context;
let hit = null;
let asking = new AbortController();

/** Compare a hit with its query. @param {Context} given @param {number} rank from 1 */
export function openHit(given, rank) {
  context = given;
  view ??= build();
  show(rank);
  if (!view.dialog.open) view.dialog.showModal();
}

/** Close it, if it is open. */
export function closeHit() {
  view?.dialog.close();
}

function build() {
  const query = querySide();
  const stage = new Stage({ onChange: () => showFrom() });
  const hitSide = { element: stage.element, canvas: heatCanvas(), match: matchFrame(), stage };
  [hitSide.canvas, hitSide.match].forEach((layer) => stage.addLayer(layer));
  const pair = make("div", { class: "pair" }, figure("detail.query", query.element), figure("detail.hit", stage.element));
  const parts = {
    query, hitSide, pair,
    title: make("h2", { id: "detail-title", tabindex: "-1" }),
    previous: button("detail.previous", () => step(-1), { class: "icon previous", say: null, label: "detail.previous", text: "‹" }),
    next: button("detail.next", () => step(1), { class: "icon next", say: null, label: "detail.next", text: "›" }),
    heat: make("input", { type: "checkbox", checked: true, on: { change: () => showLayers() } }),
    cover: make("input", { type: "range", min: "0", max: "1", step: "0.01", value: COVER, label: "detail.opacity", on: { input: () => showLayers() } }),
    points: make("input", { type: "checkbox", checked: true, on: { change: () => onPoints() } }),
    state: make("p", { class: "soft", role: "status" }),
    reason: make("p", { class: "reason" }),
    facts: make("dl", { class: "facts" }),
    strip: makeSvg("svg", { class: "bits", role: "img" }),
    from: make("div", { class: "row" }),
  };
  parts.lines = new PointLines(pair, [query.element, stage.element]);
  parts.dialog = makeDialog(
    { class: "detail", labelledBy: "detail-title", onClose: () => onClose() },
    make("header", { class: "dialog-head" }, parts.title, make("div", { class: "row" }, parts.previous, parts.next, closeButton(() => parts.dialog))),
    make("div", { class: "dialog-body" },
      make("div", { class: "looks" }, pair, controls(parts)),
      make("aside", { class: "why" },
        make("h3", { say: "detail.from" }), parts.from,
        make("h3", { say: "detail.why" }), parts.reason, parts.strip, parts.facts)),
  );
  stepByArrows(parts.dialog, step);
  return parts;
}

function querySide() {
  const image = make("img", { draggable: "false", decoding: "async" });
  const side = { image, canvas: heatCanvas(), match: matchFrame(), element: make("div", { class: "stage still" }, image) };
  side.element.append(side.canvas, side.match);
  image.addEventListener("load", () => setVars(side.element, { "--ratio": image.naturalWidth / image.naturalHeight }));
  return side;
}

const heatCanvas = () => make("canvas", { class: "heat", "aria-hidden": "true", hidden: true });
const matchFrame = () => make("span", { class: "match", "aria-hidden": "true" });

function figure(key, element) {
  return make("figure", {}, make("figcaption", { say: key }), element);
}

function controls({ heat, cover, points, state }) {
  return make("div", { class: "controls" },
    make("label", { class: "tick" }, heat, make("span", { say: "detail.heat" })),
    make("div", { class: "legend" }, make("span", { say: "detail.against" }), make("i", { "aria-hidden": "true" }), make("span", { say: "detail.for" })),
    cover,
    make("label", { class: "tick" }, points, make("span", { say: "detail.points" })),
    state);
}

function show(rank) {
  asking.abort();
  asking = new AbortController();
  const { answer, source, box } = context;
  hit = answer.hits[rank - 1];
  say(view.title, "detail.title", { rank, n: answer.hits.length, name: hit.name });
  view.previous.disabled = rank <= 1;
  view.next.disabled = rank >= answer.hits.length;
  showQueryPicture(source);
  view.hitSide.stage.box = null;
  view.hitSide.stage.show({ src: api.thumbnailUrl(hit.id, SIDE), alt: t("detail.hitAlt", { name: hit.name }), width: hit.width, height: hit.height });
  mark(view.query.match, hit.query_box ?? box);
  mark(view.hitSide.match, hit.box);
  [view.query, view.hitSide].forEach((side) => { side.canvas.hidden = true; });
  view.lines.show([]);
  say(view.reason, () => reasonOf(hit, answer.n_bits, context.isSelf(hit)));
  showFacts(null);
  showFrom();
  view.strip.replaceChildren();
  explain(asking.signal);
}

function showQueryPicture(source) {
  const { image, element } = view.query;
  sayAttribute(image, "alt", "detail.queryAlt", { name: source.name });
  if (source.width && source.height) setVars(element, { "--ratio": source.width / source.height });
  const url = new URL(api.sourceUrl(source), document.baseURI).href;
  if (image.src !== url) image.src = url;
}

function mark(frame, box) {
  frame.hidden = isWhole(box);
  if (!frame.hidden) placeAt(frame, box);
}

/** The heat map first, which is quicker; then the points. @param {AbortSignal} signal */
async function explain(signal) {
  const { source, box, settings } = context;
  const how = { region: box, parts: settings.parts, bits: settings.bits };
  say(view.state, "detail.working");
  try {
    const found = await api.explain(source, hit.id, { ...how, points: null }, signal);
    showExplanation(found);
    say(view.state, () => "");
    if (view.points.checked) await matchPoints(how, signal);
  } catch (error) {
    if (error.name !== "AbortError") say(view.state, () => error.message);
  }
}

async function matchPoints(how, signal) {
  say(view.state, "detail.pointsWorking");
  const { hit: explained } = await api.explain(context.source, hit.id, { ...how, points: "map" }, signal);
  const pairs = explained.points?.pairs ?? [];
  view.lines.show(pairs);
  say(view.state, pairs.length ? "detail.pointsFound" : "detail.pointsNone", { n: explained.points?.places ?? 0 });
  showLayers();
}

function onPoints() {
  showLayers();
  if (view.points.checked && !view.lines.element.querySelector("circle")) {
    asking.abort();
    asking = new AbortController();
    explain(asking.signal);
  }
}

function showExplanation(found) {
  const { query, hit: side } = found.sides;
  const largest = largestOf(query.heat, side.heat);
  for (const [shown, { box, heat }] of [[view.query, query], [view.hitSide, side]]) {
    placeAt(shown.canvas, box);
    drawHeat(shown.canvas, heat, largest);
    mark(shown.match, box);
  }
  drawBits(view.strip, found.n_bits, found.differing);
  const values = { same: found.n_bits - found.distance, distance: found.distance };
  sayAttribute(view.strip, "aria-label", "detail.bitsStrip", values);
  showFacts(found);
  showLayers();
}

function showLayers() {
  setVars(view.dialog, { "--cover": view.cover.value });
  const hasHeat = view.query.canvas.width > 0 && view.strip.childElementCount > 0;
  [view.query, view.hitSide].forEach((side) => { side.canvas.hidden = !view.heat.checked || !hasHeat; });
  view.lines.element.toggleAttribute("hidden", !view.points.checked);
}

function showFacts(found) {
  const [distance, n] = found ? [found.distance, found.n_bits] : [hit.distance, context.answer.n_bits];
  const core = found && { query: found.sides.query.core?.share, hit: found.sides.hit.core?.share };
  view.facts.replaceChildren(
    ...fact("detail.score", () => scoreText(hit.score)),
    ...fact("detail.chance", () => chanceText(hit.false_matches)),
    ...fact("detail.bits", () => t("detail.bitsValue", { distance, n })),
    ...fact("detail.core", () => (core?.query && core?.hit ? t("detail.coreValue", core) : "")),
    ...fact("detail.method", () => (found ? t(`detail.${found.method}`) : "")),
    ...fact("detail.size", () => t("detail.sizeValue", hit)),
    ...metadata(hit.meta),
    make("dt", { say: "detail.file" }),
    make("dd", {}, make("a", { href: api.fileUrl(hit.id), target: "_blank", rel: "noopener", say: "detail.open" })),
  );
}

function showFrom() {
  const { stage } = view.hitSide;
  const framed = stage.box;
  const from = { kind: "stored", key: `stored-${hit.id}`, id: hit.id, name: hit.name, width: hit.width, height: hit.height };
  const search = (box) => () => {
    view.dialog.close();
    context.onSearch(from, box);
  };
  view.from.replaceChildren(
    button("detail.fromWhole", search(null)),
    ...(isWhole(hit.box) ? [] : [button("detail.fromPart", search(hit.box))]),
    framed ? button("detail.fromBox", search(framed), { class: "primary" }) : button("detail.frame", () => stage.frame(), { class: "quiet" }),
  );
}

function step(by) {
  const rank = hit.rank + by;
  if (rank < 1 || rank > context.answer.hits.length) return;
  show(rank);
  keepFocus(view.title);
}

function onClose() {
  asking.abort();
  context.onClose(hit);
}
