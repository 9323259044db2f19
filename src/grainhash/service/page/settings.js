// How to search: the live slider of the code's length, and the form of everything else.

import { byId, button, debounced, make } from "./dom.js";
import { say, t } from "./i18n.js";
import { DEFAULTS, changedOf } from "./state.js";

const K = [10, 20, 50, 100, 200];
const PARTS = 6;
const VERIFIED = 20;
/** Milliseconds that the slider rests before a search; the filter, which is typed, waits longer. */
const SLIDER_PAUSE = 90;
const TYPING_PAUSE = 500;

/** @type {any} */
let fields = null;
let lengths = [];
let isNested = false;
let onChange = (_settings) => {};
let settings = { ...DEFAULTS };

/** Build the controls. @param {any} info what the server says of its gallery @param {typeof onChange} listen */
export function initSettings(info, listen) {
  onChange = listen;
  lengths = info.bit_lengths;
  isNested = info.is_nested;
  byId("length").replaceChildren(...lengthControl());
  byId("length").hidden = lengths.length < 2;
  fields = fieldsOf(info);
  const form = byId("settings-form");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.replaceChildren(...Object.values(fields).map((field) => field.row), resetRow());
}

/** Show the settings of the state. */
export function showSettings(now) {
  settings = { ...now };
  for (const [name, field] of Object.entries(fields)) field.show(settings[name]);
  showLength();
  const n = changedOf({ ...settings, bits: DEFAULTS.bits }).length;
  say(byId("settings-changed"), () => (n ? t("settings.changed", { n }) : ""));
}

function change(part) {
  settings = { ...settings, ...part };
  onChange(settings);
}

function lengthControl() {
  const slider = make("input", {
    type: "range", id: "bits", min: "0", max: String(lengths.length - 1), step: "1", list: "bit-lengths",
  });
  const search = debounced(() => change({ bits: bitsAt(slider) }), SLIDER_PAUSE);
  slider.addEventListener("input", () => {
    settings.bits = bitsAt(slider);
    showLength();
    search();
  });
  return [
    make("div", { class: "length-head" },
      make("label", { for: "bits", say: "settings.bits" }),
      make("output", { for: "bits", id: "bits-value" })),
    slider,
    make("datalist", { id: "bit-lengths" }, ...lengths.map((_, at) => make("option", { value: String(at) }))),
    make("p", { class: "hint", id: "bits-hint", say: "settings.bitsHint" }),
  ];
}

/** The full length goes by 0, which is the server's own default. */
function bitsAt(slider) {
  const at = Number(slider.value);
  return at === lengths.length - 1 ? 0 : lengths[at];
}

function showLength() {
  const n = settings.bits || lengths.at(-1);
  const at = lengths.findLastIndex((length) => length <= n);
  byId("bits").value = String(Math.max(at, 0));
  sayBits(byId("bits-value"), n);
  const isCut = !isNested && n !== lengths.at(-1);
  byId("bits-hint").hidden = !isCut;
  byId("bits").setAttribute("aria-describedby", isCut ? "bits-hint" : "");
  byId("bits").setAttribute("aria-valuetext", t("settings.bitsValue", { n }));
}

const sayBits = (element, n) => say(element, "settings.bitsValue", { n });

function fieldsOf(info) {
  const fields = {};
  if (info.has_parts) {
    fields.granularity = choice(
      "granularity", { both: "settings.both", whole: "settings.wholeOnly", part: "settings.partOnly" }, "settings.granularity",
      (granularity) => change({ granularity }),
    );
  }
  fields.k = select("k", K.filter((k) => k <= info.max_k));
  fields.min_score = leastScore();
  if (info.has_parts) fields.parts = tick("parts", PARTS, "settings.partsHint");
  fields.verify = tick("verify", VERIFIED, "settings.verifyHint");
  fields.where = filterField("where", info.meta_keys, (where) => change({ where }));
  return fields;
}

/** Radio buttons side by side; the options and the legend are keys of i18n.js. */
export function choice(name, options, legend, onChange) {
  const inputs = Object.keys(options).map((value) =>
    make("input", { type: "radio", name, value, on: { change: () => onChange(value) } }));
  const row = make("fieldset", { class: "segments" }, make("legend", { say: legend }),
    ...inputs.map((input) => make("label", {}, input, make("span", { say: options[input.value] }))));
  return { row, show: (value) => inputs.forEach((input) => { input.checked = input.value === value; }) };
}

function select(name, values) {
  const input = make("select", { id: `setting-${name}`, on: { change: () => change({ [name]: Number(input.value) }) } });
  const show = (value) => {
    const shown = [...new Set([...values, value])].sort((a, b) => a - b);
    input.replaceChildren(...shown.map((each) => make("option", { value: each, text: String(each) })));
    input.value = String(value);
  };
  return { row: labelled(input, `settings.${name}`), show };
}

/** A tick for a number: 0 or `n`. */
function tick(name, n, hint) {
  const input = make("input", {
    type: "checkbox", "aria-describedby": `${name}-hint`, on: { change: () => change({ [name]: input.checked ? n : 0 }) },
  });
  const row = make("div", { class: "field" },
    make("label", { class: "tick" }, input, make("span", { say: `settings.${name}` })),
    make("p", { class: "hint", id: `${name}-hint`, say: hint }));
  return { row, show: (value) => { input.checked = value > 0; } };
}

function leastScore() {
  const output = make("output", { for: "setting-min-score" });
  const search = debounced(() => change({ min_score: Number(input.value) }), SLIDER_PAUSE);
  const input = make("input", { type: "range", id: "setting-min-score", min: "0", max: "0.95", step: "0.05" });
  const show = (value) => {
    input.value = String(value);
    output.textContent = Number(value).toFixed(2);
  };
  input.addEventListener("input", () => {
    show(input.value);
    search();
  });
  const head = make("div", { class: "length-head" }, make("label", { for: input.id, say: "settings.minScore" }), output);
  return { row: make("div", { class: "field" }, head, input), show };
}

/**
 * A filter on metadata, with the gallery's keys to put into it.
 *
 * @param {string} id
 * @param {{key: string, pictures: number}[]} keys
 * @param {(where: string) => void} onWhere
 */
export function filterField(id, keys, onWhere) {
  const input = make("input", {
    type: "text", id, maxlength: "4096", spellcheck: "false", autocapitalize: "off", autocomplete: "off",
    placeholder: "settings.wherePlaceholder",
  });
  const soon = debounced(() => onWhere(input.value.trim()), TYPING_PAUSE);
  input.addEventListener("input", () => isDone(input.value) && soon());
  input.addEventListener("change", () => onWhere(input.value.trim()));
  const insert = (key) => {
    input.value = input.value.trim() ? `${input.value.trim()} and ${key} = ` : `${key} = `;
    input.focus();
  };
  const chips = keys.slice(0, 12).map(({ key }) =>
    make("button", { type: "button", class: "chip", text: key, label: ["settings.insert", { key }], on: { click: () => insert(key) } }));
  const row = make("div", { class: "field" },
    make("label", { for: id, say: "settings.where" }),
    input,
    chips.length ? make("p", { class: "chips" }, make("span", { say: "settings.keys" }), ...chips) : null);
  return { row, input, show: (value) => { if (input !== document.activeElement) input.value = value; } };
}

/** A filter that ends in an operator, or within quotes, is still being typed. */
const isDone = (text) =>
  text.trim() === "" || (text.split('"').length % 2 === 1 && !/(=|<|>|!|~|\(|\b(and|or|not|in|like))\s*$/i.test(text));

/** A field with its label before it. */
export function labelled(input, key) {
  return make("div", { class: "field inline" }, make("label", { for: input.id, say: key }), input);
}

function resetRow() {
  return make("p", { class: "row" }, button("settings.reset", () => {
    const { bits } = settings;
    onChange({ ...DEFAULTS, bits });
  }, { class: "quiet" }));
}
