// The view "browse": the gallery's pictures in order, filtered, more of them as the page is scrolled.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { say } from "./i18n.js";
import { openPicture } from "./picture.js";
import { navigate } from "./router.js";
import { filterField } from "./settings.js";
import { wallItem } from "./wall.js";

const PAGE = 60;

/** @type {any} */
let info;
/** @type {{onSearch: any, onProblem: (text: string | null) => void, onChanged: () => Promise<void>}} */
let hooks;
let field;
let shown = [];
/** What `shown` has passed; null before anything was loaded. @type {string | null} */
let where = null;
let next = null;
let loading = new AbortController();
let isLoading = false;

/** @param {any} given of the server @param {typeof hooks} calls */
export function initBrowse(given, calls) {
  info = given;
  hooks = calls;
  field = filterField("browse-where", info.meta_keys, (text) => navigate({ browseWhere: text }, { replaces: true }));
  byId("browse-form").addEventListener("submit", (event) => event.preventDefault());
  byId("browse-form").replaceChildren(field.row);
  byId("more").addEventListener("click", () => load());
  new IntersectionObserver(([entry]) => entry.isIntersecting && load(), { rootMargin: "600px" }).observe(byId("more"));
}

/** Follow the state. @param {import("./router.js").State} state */
export function onBrowseState({ browseWhere }) {
  field.show(browseWhere);
  if (browseWhere === where) return;
  where = browseWhere;
  forget();
  load();
}

/** The gallery changed: look anew when it is shown again. @param {any} given */
export function renewBrowse(given) {
  info = given;
  where = null;
}

function forget() {
  loading.abort();
  isLoading = false;
  shown = [];
  next = 0;
  byId("wall").replaceChildren();
}

async function load() {
  if (isLoading || next === null) return;
  isLoading = true;
  loading = new AbortController();
  const { signal } = loading;
  byId("wall").setAttribute("aria-busy", "true");
  try {
    const page = await api.pictures({ after: next, limit: PAGE, where }, signal);
    hooks.onProblem(null);
    const first = shown.length;
    shown.push(...page.pictures);
    next = page.next;
    byId("wall").append(...page.pictures.map((picture, at) => wallItem(picture, () => open(first + at))));
    isLoading = false;
    showStatus();
  } catch (error) {
    if (error.name === "AbortError") return;
    isLoading = false;
    next = null;
    showStatus();
    hooks.onProblem(error.message);
  } finally {
    if (!signal.aborted) byId("wall").removeAttribute("aria-busy");
  }
}

function open(at) {
  const focusBack = (picture) => byId("wall").querySelector(`[data-id="${picture.id}"] button`)?.focus();
  openPicture({ pictures: shown, mayRemove: info.writable, onSearch: hooks.onSearch, onRemoved, onClose: focusBack }, at);
}

async function onRemoved(picture) {
  byId("wall").querySelector(`[data-id="${picture.id}"]`)?.remove();
  const kept = where; // the filter stays as it is
  await hooks.onChanged();
  where = kept;
  forget();
  await load();
}

function showStatus() {
  const n = shown.length;
  const key = statusKey(n);
  say(byId("browse-status"), key, { n, all: info.pictures });
  byId("browse-none").hidden = n > 0 || !where;
  say(byId("browse-none"), "browse.none");
  byId("more").hidden = next === null;
}

function statusKey(n) {
  if (where) return next === null ? "browse.filtered" : "browse.filteredMore";
  return next === null ? "browse.all" : "browse.shown";
}
