// What the page is about now - tab, query, box, settings - and its place in the address bar and the history.

import { DEFAULTS, LABELLING, LOOKS, readHash, writeHash } from "./state.js";

/**
 * @typedef {import("./api.js").Source} Source
 * @typedef {{tab: string, source: Source | null, box: import("./geometry.js").Box | null,
 *   settings: typeof DEFAULTS, browseWhere: string, look: string, labelling: typeof LABELLING}} State
 */

export const TABS = ["search", "browse", "groups"];

/** Uploads of this visit: an address cannot hold a picture, so the history holds its key. @type {Map<string, Source>} */
const uploads = new Map();

/** @type {(now: State, before: State) => void} */
let onState = () => {};

/** @type {State} */
let state = {
  tab: TABS[0], source: null, box: null, settings: { ...DEFAULTS }, browseWhere: "", look: LOOKS[0], labelling: { ...LABELLING },
};

export const now = () => state;

/** Begin with what the address says, and follow it. @param {typeof onState} listen */
export function follow(listen) {
  onState = listen;
  window.addEventListener("popstate", () => change(read()));
  change(read());
}

/**
 * Change the state and the address with it.
 *
 * @param {Partial<State>} part
 * @param {{replaces?: boolean}} [how] `replaces`: the present entry of the history instead of adding one
 */
export function navigate(part, { replaces = false } = {}) {
  const next = { ...state, ...part };
  const { source } = next;
  if (source?.kind === "upload") uploads.set(source.key, source);
  const entry = { upload: source?.kind === "upload" ? source.key : null };
  const hash = writeHash({ ...next, query: source?.kind === "stored" ? source.id : null });
  history[replaces ? "replaceState" : "pushState"](entry, "", hash);
  change(next);
}

function change(next) {
  const before = state;
  state = next;
  onState(next, before);
}

/** @returns {State} */
function read() {
  const { tab, query, box, settings, browseWhere, look, labelling } = readHash(location.hash, TABS);
  if (tab !== "search") return { ...state, tab, browseWhere, look, labelling };
  return { ...state, tab, source: sourceOf(query), box, settings };
}

/** @returns {Source | null} */
function sourceOf(id) {
  if (id === null) return uploads.get(history.state?.upload) ?? null;
  if (state.source?.kind === "stored" && state.source.id === id) return state.source;
  return { kind: "stored", key: `stored-${id}`, id, name: "" };
}
