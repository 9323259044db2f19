// How a text gets into elements, in English or Chinese, and numbers and times beside it.
//
// In the texts `{n}` is a value, `{n%}` a share as per cent. What the server says (details of errors, the steps
// of a plan) stays as the server says it.

import { TEXTS as EN } from "./text-en.js";
import { TEXTS as ZH } from "./text-zh.js";

const TEXTS = { "en": EN, "zh-CN": ZH };
const KEPT_AS = "grainhash.language";

let language = remembered() ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh-CN" : "en");

/** What each element says: by attribute ("" for its text), how to make the text again. */
const sayings = new WeakMap();

function remembered() {
  try {
    const kept = localStorage.getItem(KEPT_AS);
    return kept !== null && kept in TEXTS ? kept : null;
  } catch {
    return null; // storage can be forbidden
  }
}

/**
 * A text in the language of the page.
 *
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  const texts = TEXTS[language];
  const count = values.n ?? values.pictures;
  const text = (count === 1 && texts[`${key}.one`]) || texts[key] || EN[key] || key;
  return text.replace(/\{(\w+)(%?)\}/g, (_, name, percent) => {
    const value = values[name];
    if (typeof value !== "number") return value ?? "";
    return percent ? percentText(value) : value.toLocaleString(language);
  });
}

function percentText(share) {
  return share.toLocaleString(language, { style: "percent", maximumFractionDigits: share < 0.1 ? 1 : 0 });
}

/** A small or large number in two digits, such as 1.6 × 10⁻⁷. */
export function inTwoDigits(value) {
  if (value === 0 || (value >= 0.001 && value < 1e6)) {
    return value.toLocaleString(language, { maximumSignificantDigits: 2 });
  }
  const [digits, power] = value.toExponential(1).split("e");
  const raised = [...String(Number(power))].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)])).join("");
  return `${digits} × 10${raised}`;
}

/** @param {string} time in ISO 8601 */
export function dateText(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? time : date.toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
}

/**
 * Set an element's text, and set it again whenever the language changes.
 *
 * @param {Element} element
 * @param {string | (() => string)} text a key, or a function that makes the text
 */
export function say(element, text, values) {
  remember(element, "", text, values);
}

/** The same for an attribute, such as `aria-label`. */
export function sayAttribute(element, attribute, text, values) {
  remember(element, attribute, text, values);
}

function remember(element, attribute, text, values) {
  const makers = sayings.get(element) ?? {};
  makers[attribute] = typeof text === "function" ? text : () => t(text, values);
  sayings.set(element, makers);
  element.setAttribute("data-said", "");
  put(element, attribute, makers[attribute]());
}

function put(element, attribute, text) {
  if (attribute) element.setAttribute(attribute, text);
  else element.textContent = text;
}

/** Say everything below an element again; texts that stand in the HTML are taken up by their keys first. */
export function translate(root = document) {
  for (const element of root.querySelectorAll("[data-i18n]")) say(element, element.getAttribute("data-i18n"));
  for (const element of root.querySelectorAll("[data-i18n-label]")) {
    sayAttribute(element, "aria-label", element.getAttribute("data-i18n-label"));
  }
  for (const element of root.querySelectorAll("[data-said]")) {
    for (const [attribute, text] of Object.entries(sayings.get(element) ?? {})) put(element, attribute, text());
  }
}

/** Start in the language of the browser, or the one chosen before, with a button that changes it. */
export function initLanguage(toggle, onChange = () => {}) {
  const show = () => {
    document.documentElement.lang = language;
    toggle.lang = language === "en" ? "zh-CN" : "en";
    translate();
  };
  say(toggle, "language.other");
  sayAttribute(toggle, "aria-label", "language.label");
  toggle.addEventListener("click", () => {
    language = language === "en" ? "zh-CN" : "en";
    try {
      localStorage.setItem(KEPT_AS, language);
    } catch {
      // then it holds for this page alone
    }
    show();
    onChange();
  });
  show();
}
