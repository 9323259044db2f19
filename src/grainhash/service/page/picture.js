// One picture of the gallery: what is known of it, its regions, and where to search from.

import * as api from "./api.js";
import { closeButton, keepFocus, makeDialog, stepByArrows } from "./dialog.js";
import { announce, button, make, placeAt } from "./dom.js";
import { fact, metadata } from "./facts.js";
import { smallestAt } from "./geometry.js";
import { dateText, say, t } from "./i18n.js";
import { Stage } from "./stage.js";

/**
 * @typedef {{pictures: any[], mayRemove: boolean, onSearch: (source: api.Source, box: api.Box | null) => void,
 *   onRemoved: (picture: any) => Promise<void>, onClose: (picture: any) => void}} Context
 */

const SIDE = 1024;

/** @type {any} */
let view = null;
/** @type {Context} */
let context;
let at = 0;
let picture = null;
let regions = [];
let asking = new AbortController();

/** @param {Context} given @param {number} place in its pictures */
export function openPicture(given, place) {
  context = given;
  view ??= build();
  show(place);
  if (!view.dialog.open) view.dialog.showModal();
}

function build() {
  const stage = new Stage({
    onChange: () => showFrom(),
    onTap: (point) => {
      const region = smallestAt(regions, point);
      if (region) stage.frame(region);
    },
  });
  const outlines = make("span", { class: "outlines", "aria-hidden": "true", hidden: true });
  stage.addLayer(outlines);
  const ticked = make("input", { type: "checkbox", on: { change: () => { outlines.hidden = !ticked.checked; } } });
  const parts = {
    stage, outlines,
    title: make("h2", { id: "picture-title", tabindex: "-1" }),
    previous: button("picture.previous", () => step(-1), { class: "icon", say: null, label: "picture.previous", text: "‹" }),
    next: button("picture.next", () => step(1), { class: "icon", say: null, label: "picture.next", text: "›" }),
    regionsLabel: make("span"),
    regionsTick: make("label", { class: "tick", hidden: true }),
    nextRegion: button("picture.nextRegion", () => frameNext(), { class: "quiet" }),
    from: make("div", { class: "row" }),
    facts: make("dl", { class: "facts" }),
    state: make("p", { class: "soft", role: "status" }),
    removal: make("div", { class: "row" }),
  };
  parts.regionsTick.append(ticked, parts.regionsLabel);
  parts.dialog = makeDialog(
    { class: "detail single", labelledBy: "picture-title", onClose: () => onClose() },
    make("header", { class: "dialog-head" }, parts.title, make("div", { class: "row" }, parts.previous, parts.next, closeButton(() => parts.dialog))),
    make("div", { class: "dialog-body" },
      make("div", { class: "looks" }, make("figure", {}, stage.element),
        make("div", { class: "controls" }, parts.regionsTick, parts.nextRegion),
        make("p", { class: "hint", say: "picture.hint" })),
      make("aside", { class: "why" },
        make("h3", { say: "detail.from" }), parts.from,
        make("h3", { say: "detail.about" }), parts.facts, parts.removal, parts.state)),
  );
  stepByArrows(parts.dialog, step);
  return parts;
}

function show(place) {
  at = place;
  picture = context.pictures[at];
  regions = [];
  asking.abort();
  asking = new AbortController();
  const { id, name, width, height } = picture;
  say(view.title, () => name);
  say(view.state, () => "");
  view.previous.disabled = at <= 0;
  view.next.disabled = at >= context.pictures.length - 1;
  view.stage.box = null;
  view.stage.show({ src: api.thumbnailUrl(id, SIDE), alt: name, width, height, onError: () => say(view.state, "picture.gone") });
  showRegions();
  showFrom();
  showFacts();
  showRemoval();
  load(id, asking.signal);
}

async function load(id, signal) {
  try {
    const { regions: boxes } = await api.picture(id, signal);
    regions = boxes ?? [];
    showRegions();
  } catch (error) {
    if (error.name !== "AbortError") say(view.state, () => error.message);
  }
}

function showRegions() {
  view.regionsTick.hidden = view.nextRegion.hidden = regions.length === 0;
  say(view.regionsLabel, "picture.regions", { n: regions.length });
  view.outlines.replaceChildren(...regions.map((box) => {
    const outline = make("i");
    placeAt(outline, box);
    return outline;
  }));
}

function frameNext() {
  const present = regions.findIndex((box) => String(box) === String(view.stage.box));
  view.stage.box = regions[(present + 1) % regions.length];
  showFrom();
  const [left, top, right, bottom] = view.stage.box;
  announce(t("box.moved", { left, top, right, bottom }));
}

function showFrom() {
  const { id, name, width, height } = picture;
  const { stage } = view;
  const search = (box) => () => {
    view.dialog.close();
    context.onSearch({ kind: "stored", key: `stored-${id}`, id, name, width, height }, box);
  };
  view.from.replaceChildren(
    button("detail.fromWhole", search(null), { class: stage.box ? null : "primary" }),
    stage.box ? button("detail.fromBox", search(stage.box), { class: "primary" }) : button("detail.frame", () => stage.frame(), { class: "quiet" }),
  );
}

function showFacts() {
  view.facts.replaceChildren(
    ...fact("picture.id", () => String(picture.id)),
    ...fact("detail.size", () => t("detail.sizeValue", picture)),
    ...fact("picture.added", () => dateText(picture.added_at)),
    ...metadata(picture.meta),
    make("dt", { say: "detail.file" }),
    make("dd", {}, make("a", { href: api.fileUrl(picture.id), target: "_blank", rel: "noopener", say: "detail.open" })),
  );
}

/** Removal asks once more, in its place. */
function showRemoval() {
  view.removal.hidden = !context.mayRemove;
  const ask = button("remove", () => {
    view.removal.replaceChildren(
      make("p", { say: ["remove.text", { name: picture.name }] }),
      button("remove.yes", () => remove(), { class: "danger" }),
      button("cancel", () => showRemoval()),
    );
    view.removal.querySelector("button").focus();
  }, { class: "quiet" });
  view.removal.replaceChildren(ask);
}

async function remove() {
  const gone = picture;
  try {
    await api.remove(gone.id);
    view.dialog.close();
    announce(t("remove.done", { name: gone.name }));
    await context.onRemoved(gone);
  } catch (error) {
    say(view.state, () => error.message);
  }
}

function step(by) {
  const place = at + by;
  if (place < 0 || place >= context.pictures.length) return;
  show(place);
  keepFocus(view.title);
}

function onClose() {
  asking.abort();
  context.onClose(picture);
}
