// The query: its picture with the part that is looked for, and what can be done with it.

import * as api from "./api.js";
import { byId, button, make, placeAt } from "./dom.js";
import { isWhole } from "./geometry.js";
import { say, t } from "./i18n.js";
import { Stage } from "./stage.js";

/** @type {{onBox: (box: api.Box | null) => void, onOther: () => void, onAdd: (source: any) => Promise<void>}} */
let hooks;
/** @type {Stage} */
let stage;
let matched;
/** @type {api.Source | null} */
let shown = null;
let buttons;

/** @param {typeof hooks} given @param {{writable: boolean}} info */
export function initQuery(given, { writable }) {
  hooks = given;
  stage = new Stage({ onChange: (box) => { showActions(); hooks.onBox(box); }, isEager: true });
  stage.element.addEventListener("framecleared", () => buttons.frame.focus());
  matched = make("span", { class: "match", hidden: true, "aria-hidden": "true" });
  stage.addLayer(matched);
  byId("query-stage").replaceChildren(stage.element);
  buttons = {
    frame: button("query.box", () => stage.frame()),
    clear: button("query.clear", () => { stage.clear(); buttons.frame.focus(); }),
    other: button("query.other", () => hooks.onOther(), { class: "quiet" }),
    add: button("query.add", () => add(), { class: "quiet" }),
  };
  byId("query-actions").replaceChildren(...Object.values(buttons));
  buttons.add.dataset.writable = String(writable);
}

/** @param {api.Source} source @param {api.Box | null} box */
export function showQuery(source, box) {
  if (source !== shown) showPicture(source);
  stage.box = box;
  showActions();
}

function showPicture(source) {
  shown = source;
  showNote(() => "");
  const { width, height } = source;
  stage.show({ src: api.sourceUrl(source), alt: t("query.alt", { name: source.name }), width, height, onError: () => showNote("query.hidden") });
  say(byId("query-title"), () => source.name || t("unnamed", { id: source.id ?? "" }));
}

/** Say it all again in another language. */
export function retellQuery() {
  if (shown) stage.element.querySelector("img").alt = t("query.alt", { name: shown.name });
  stage?.describe();
}

/** Show which part of the query a hit matched; none any more without a hit. @param {any | null} hit */
export function lookAt(hit) {
  const box = hit?.query_box ?? null;
  matched.hidden = isWhole(box) || String(box) === String(stage.box);
  if (!matched.hidden) placeAt(matched, box);
}

function showActions() {
  buttons.frame.hidden = stage.box !== null;
  buttons.clear.hidden = stage.box === null;
  buttons.add.hidden = buttons.add.dataset.writable !== "true" || shown?.kind !== "upload";
}

const showNote = (text, values) => say(byId("query-note"), text, values);

async function add() {
  const source = shown;
  buttons.add.disabled = true;
  showNote("query.adding");
  try {
    await hooks.onAdd(source);
    buttons.add.hidden = true;
  } catch (error) {
    showNote(() => error.message);
  } finally {
    buttons.add.disabled = false;
  }
}

/** @param {any} picture as the server has it now */
export const showAdded = (picture) => showNote("query.added", { name: picture.name, id: picture.id });
