// What the address bar holds: the tab, the stored query, its box and the settings, as
// `#/search?query=12&box=0,0,0.5,0.5&k=50`.

import { boxText } from "./api.js";

/** How a search is made; names as the server has them. */
export const DEFAULTS = Object.freeze({
  granularity: "both",
  k: 20,
  parts: 0,
  verify: 0,
  min_score: 0,
  bits: 0,
  where: "",
});

/** What the view "groups" looks at. */
export const LOOKS = ["alike", "copies", "labels"];

/** How to label; an empty `label` is the key that suits best. */
export const LABELLING = Object.freeze({ label: "", unlabelled: "", method: "vote", held_out: 0 });

const NUMBERS = ["k", "parts", "verify", "min_score", "bits"];

/** What the server is sent: only what differs from its own defaults. */
export function requestOf(settings) {
  return Object.fromEntries(Object.entries(settings).filter(([name, value]) => value !== DEFAULTS[name]));
}

/** Names of the settings that are not as at the start. */
export const changedOf = (settings) => Object.keys(requestOf(settings));

/** @returns {{tab: string, query: number | null, box: number[] | null, settings: any, browseWhere: string, look: string, labelling: typeof LABELLING}} */
export function readHash(hash, tabs) {
  const [path, text = ""] = hash.replace(/^#\/?/, "").split("?");
  const params = new URLSearchParams(text);
  const tab = tabs.includes(path) ? path : tabs[0];
  const query = params.get("query");
  const isBrowse = tab === "browse";
  return {
    tab,
    query: query !== null && /^\d{1,18}$/.test(query) ? Number(query) : null,
    box: readBox(params.get("box")),
    look: LOOKS.includes(params.get("look")) ? params.get("look") : LOOKS[0],
    labelling: readLabelling(params),
    settings: isBrowse ? null : readSettings(params),
    browseWhere: isBrowse ? (params.get("where") ?? "") : "",
  };
}

function readSettings(params) {
  const settings = { ...DEFAULTS };
  for (const name of NUMBERS) {
    const value = Number(params.get(name) ?? NaN);
    if (Number.isFinite(value) && value >= 0) settings[name] = value;
  }
  if (["whole", "part"].includes(params.get("granularity"))) settings.granularity = params.get("granularity");
  settings.where = params.get("where") ?? "";
  return settings;
}

function readLabelling(params) {
  const share = Number(params.get("held_out"));
  return {
    label: params.get("label") ?? "",
    unlabelled: params.get("unlabelled") ?? "",
    method: params.get("method") === "linear" ? "linear" : "vote",
    held_out: share > 0 && share < 1 ? share : 0,
  };
}

function readBox(text) {
  const box = text?.split(",").map(Number) ?? [];
  const fits = box.length === 4 && box.every((edge) => edge >= 0 && edge <= 1) && box[0] < box[2] && box[1] < box[3];
  return fits ? box : null;
}

/** The hash of a state; the other way round of `readHash`. */
export function writeHash({ tab, query, box, settings, browseWhere, look, labelling }) {
  const params = new URLSearchParams();
  if (tab === "browse") {
    if (browseWhere) params.set("where", browseWhere);
  } else if (tab === "groups") {
    if (look !== LOOKS[0]) params.set("look", look);
    const given = look === "labels" ? Object.entries(labelling) : [];
    for (const [name, value] of given) if (value !== LABELLING[name]) params.set(name, String(value));
  } else {
    if (query !== null) params.set("query", String(query));
    if (box) params.set("box", boxText(box));
    for (const [name, value] of Object.entries(requestOf(settings))) params.set(name, String(value));
  }
  const text = params.toString().replaceAll("%2C", ",");
  return `#/${tab}${text && "?"}${text}`;
}
