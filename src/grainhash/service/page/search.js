// The view "search": runs a search whenever query, box or settings change, and shows what it found.

import * as api from "./api.js";
import { closeHit, openHit } from "./detail.js";
import { byId, make } from "./dom.js";
import { pick } from "./intake.js";
import { say, t } from "./i18n.js";
import { initQuery, lookAt, retellQuery, showAdded, showQuery } from "./query.js";
import { clearResults, focusHit, initResults, showAnswer, showDone, showSearching } from "./results.js";
import { navigate, now } from "./router.js";
import { initSettings, showSettings } from "./settings.js";
import { requestOf } from "./state.js";
import { thumbnail } from "./thumbnail.js";

const SAMPLES = 8;
const SAMPLED = 64;

/** @type {{onProblem: (text: string | null) => void, onChanged: () => Promise<void>}} */
let hooks;
/** The answer on the page, with the box and the settings it answers; it stays until the next is here. */
let shown = null;
let isUpToDate = false;
let running = new AbortController();
let isRunning = false;

/** @param {any} info @param {typeof hooks} given */
export function initSearch(info, given) {
  hooks = given;
  initQuery({ onBox: (box) => navigate({ box }), onOther: pick, onAdd: add }, info);
  initSettings(info, (settings) => navigate({ settings }, { replaces: true }));
  initResults({ onOpen: open, onLook: lookAt });
  showSamples(info);
}

/** Begin with a picture. @param {api.Source} source @param {api.Box | null} [box] */
export function searchFrom(source, box = null) {
  navigate({ tab: "search", source, box });
  byId("results-title").focus({ preventScroll: true });
  window.scrollTo({ top: 0 });
}

/** @param {File} file */
export function searchFile(file) {
  const name = file.name || t("query.pasted");
  searchFrom({ kind: "upload", key: crypto.randomUUID?.() ?? String(performance.now()), name, file, url: URL.createObjectURL(file) });
}

/** Follow the state. @param {import("./router.js").State} state @param {import("./router.js").State} before */
export function onSearchState(state, before) {
  const { source, box, settings } = state;
  byId("hero").hidden = source !== null;
  byId("bench").hidden = source === null;
  showSettings(settings);
  if (source === null) {
    running.abort();
    isRunning = false;
    clear();
    return;
  }
  const isOther = source.key !== before.source?.key;
  const isSame = !isOther && String(box) === String(before.box) && JSON.stringify(settings) === JSON.stringify(before.settings);
  if (!isSame) closeHit();
  if (isOther) clear();
  showQuery(source, box);
  if (source.kind === "stored" && !source.name) name(source);
  if (!isSame || !(isUpToDate || isRunning)) search();
}

function clear() {
  shown = null;
  isUpToDate = false;
  clearResults();
}

/** What a link does not say of a picture. */
async function name(source) {
  try {
    const { name, width, height } = await api.picture(source.id);
    if (now().source === source) navigate({ source: { ...source, name, width, height } }, { replaces: true });
  } catch {
    // the search says what is wrong
  }
}

async function search() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  const { source, box, settings } = now();
  isRunning = true;
  isUpToDate = false;
  showSearching();
  try {
    const answer = await api.search(source, box, requestOf(settings), signal);
    if (signal.aborted) return;
    shown = { answer, box, settings };
    isUpToDate = true;
    hooks.onProblem(null);
    showAnswer(answer, { isSelf: isSelfOf(source), isNarrowed: Boolean(settings.where || settings.min_score) });
  } catch (error) {
    if (error.name === "AbortError") return;
    showDone("");
    hooks.onProblem(error.status === 404 ? t("error.gone") : error.message);
  } finally {
    if (!signal.aborted) isRunning = false;
  }
}

const isSelfOf = (source) => (hit) => source.kind === "stored" && hit.id === source.id;

function open(rank) {
  const { source } = now();
  const onClose = (hit) => focusHit(hit.id);
  openHit({ source, ...shown, isSelf: isSelfOf(source), onSearch: searchFrom, onClose }, rank);
}

async function add(source) {
  const picture = await api.add(source.file, source.name);
  showAdded(picture);
  await hooks.onChanged();
}

/** A few pictures of the gallery to begin with. */
async function showSamples({ pictures: n, writable }) {
  byId("gallery-empty").hidden = n > 0;
  say(byId("gallery-empty"), writable ? "gallery.emptyWritable" : "gallery.empty");
  byId("samples-block").hidden = n === 0;
  if (n === 0) return;
  const { pictures } = await api.pictures({ limit: SAMPLED });
  const step = Math.max(pictures.length / SAMPLES, 1);
  const some = Array.from({ length: Math.min(SAMPLES, pictures.length) }, (_, at) => pictures[Math.floor(at * step)]);
  byId("samples").replaceChildren(...some.map(sample));
}

function sample({ id, name, width, height }) {
  const start = () => searchFrom({ kind: "stored", key: `stored-${id}`, id, name, width, height });
  const open = make("button", { type: "button", class: "picture", label: ["hero.sample", { name }], on: { click: start } },
    thumbnail({ id, width, height }, { side: 256 }));
  return make("li", { vars: { "--ratio": width / height } }, open);
}

/** Say it all again in another language. */
export const retellSearch = retellQuery;
