// The look "labels" of the view "groups": what to learn labels from, how good they are, pictures by their label.

import * as api from "./api.js";
import { byId, button, make } from "./dom.js";
import { say, t } from "./i18n.js";
import { navigate } from "./router.js";
import { choice, labelled } from "./settings.js";
import { restOf, sheetOf } from "./sheets.js";
import { askForKey } from "./store-labels.js";

/** What is held out where that is ticked. */
const SHARE = 0.2;

/** @typedef {typeof import("./state.js").LABELLING} Labelling */

/** @type {any} */
let info;
/** @type {{open: (pictures: any[], at: number) => void, onStored: (found: any) => Promise<void>}} */
let hooks;
/** @type {Labelling} */
let labelling;
let fields;
/** Values of the key that are known to be there. @type {string[]} */
let classes = [];

/** @param {any} given of the server @param {typeof hooks} calls */
export function initLabels(given, calls) {
  info = given;
  hooks = calls;
  fields = {
    label: select("label", "labels.label", (label) => change({ label, unlabelled: "" })),
    unlabelled: select("unlabelled", "labels.unlabelled", (unlabelled) => change({ unlabelled })),
    method: choice("method", { vote: "labels.vote", linear: "labels.linear" }, "labels.method", (method) => change({ method })),
    heldOut: heldOut(),
  };
  const store = button("labels.store", () => askForKey(`${keyOf()}_guess`, keep), { id: "labels-store", "aria-haspopup": "dialog" });
  byId("labels-form").addEventListener("submit", (event) => event.preventDefault());
  byId("labels-form").replaceChildren(...Object.values(fields).map((field) => field.row), make("p", {}, store));
}

/** The gallery changed. @param {any} given */
export function renewLabels(given) {
  info = given;
}

/** Show or hide the form. @param {boolean} isShown @param {Labelling} now */
export function showLabelling(isShown, now) {
  byId("labels-form").hidden = !isShown;
  byId("labels-report").hidden = true;
  if (!isShown) return;
  if (now.label !== labelling?.label) classes = [];
  labelling = now;
  showFields();
  mayStore(false);
}

/** Ask for labels; null where no picture can have any. @param {AbortSignal} signal */
export async function labelsOf(signal) {
  return keyOf() ? api.labels(request(), signal) : null;
}

/** Show them, and how good they are. @param {any | null} found @returns {Node[]} the sheets */
export function sheetsOfLabels(found) {
  if (found === null) {
    say(byId("groups-status"), "labels.noKeys");
    return [];
  }
  classes = [...new Set([...found.labels, labelling.unlabelled])].filter(Boolean).sort();
  showFields();
  showStatus(found);
  showReport(found);
  mayStore(found.n_pictures > 0);
  const shown = found.groups.reduce((sum, group) => sum + group.size, 0);
  return [...found.groups.map(sheetOfLabel), restOf(found.n_pictures - shown)].filter(Boolean);
}

const keyOf = () => labelling.label || (info.meta_keys.find(({ key }) => key === "label") ?? info.meta_keys[0])?.key || "";

const request = () => ({ ...labelling, label: keyOf() });

const change = (part) => navigate({ labelling: { ...labelling, ...part } }, { replaces: true });

async function keep(store, replace) {
  const found = await api.storeLabels({ ...request(), store, replace });
  await hooks.onStored(found);
  say(byId("groups-status"), "labels.stored", { key: found.stored });
}

function mayStore(may) {
  byId("labels-store").hidden = !info.writable;
  byId("labels-store").disabled = !may;
}

function select(name, text, onChange) {
  const input = make("select", { id: `labels-${name}`, on: { change: () => onChange(input.value) } });
  const show = (value, options) => {
    input.replaceChildren(...options);
    input.value = value;
  };
  return { row: labelled(input, text), show };
}

function heldOut() {
  const input = make("input", { type: "checkbox", on: { change: () => change({ held_out: input.checked ? SHARE : 0 }) } });
  const row = make("div", { class: "field" }, make("label", { class: "tick" }, input, make("span", { say: "labels.holdOut" })));
  return { row, show: (share) => { input.checked = share > 0; } };
}

function showFields() {
  const keys = [...new Set([...info.meta_keys.map(({ key }) => key), keyOf()])].filter(Boolean);
  fields.label.show(keyOf(), keys.map((key) => make("option", { value: key, text: key })));
  const values = [...new Set([...classes, labelling.unlabelled])].filter(Boolean);
  fields.unlabelled.show(labelling.unlabelled, [
    make("option", { value: "", say: "labels.withoutKey" }),
    ...values.map((value) => make("option", { value, say: ["labels.value", { value }] })),
  ]);
  fields.method.show(labelling.method);
  fields.heldOut.show(labelling.held_out);
}

function showStatus({ n_pictures: n, n_labelled: of, labels, groups }) {
  const none = groups.find(({ label }) => label === null)?.size ?? 0;
  const key = n ? "labels.status" : "labels.allLabelled";
  say(byId("groups-status"), key, { n, of, classes: labels.length, given: n - none, none });
}

function showReport({ evaluation, groups }) {
  const { how, n_judged: n, accuracy, calibration, classes: rows } = evaluation;
  const heads = ["labels.class", "labels.judgedBy", "labels.precision", "labels.recall", "labels.given"];
  const given = new Map(groups.map(({ label, size }) => [label, size]));
  const number = (text) => make("td", { class: "number", say: () => text() });
  const row = ({ label, pictures, precision, recall }) =>
    make("tr", {},
      make("th", { scope: "row", text: label }),
      number(() => t("labels.number", { number: pictures })),
      number(() => t("labels.share", { share: precision })),
      number(() => t("labels.share", { share: recall })),
      number(() => t("labels.number", { number: given.get(label) ?? 0 })));
  byId("labels-report").hidden = false;
  byId("labels-report").replaceChildren(
    make("p", { say: [how === "held out" ? "labels.heldOut" : "labels.leftOut", { n, accuracy, error: calibration.error }] }),
    make("details", { class: "plan" },
      make("summary", { say: "labels.classes" }),
      make("div", { class: "scroll", tabindex: "0", role: "region", label: "labels.classes" },
        make("table", {},
          make("thead", {}, make("tr", {}, ...heads.map((key, at) => make("th", { scope: "col", class: at ? "number" : null, say: key })))),
          make("tbody", {}, ...rows.map(row))))));
}

function sheetOfLabel({ label, size, pictures }) {
  const title = label === null ? make("h2", { say: "labels.none" }) : make("h2", { text: label });
  const sheet = sheetOf(title, pictures, size, hooks.open, (picture) => [noteOf(picture)]);
  if (label === null) sheet.classList.add("apart");
  return sheet;
}

function noteOf({ label, likeliest, confidence, distance }) {
  const note = label === null ? ["labels.far", { bits: distance, likeliest }] : ["labels.sure", { sure: confidence }];
  return make("span", { class: "note", say: note });
}
