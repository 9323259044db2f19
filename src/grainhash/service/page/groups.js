// The view "groups": pictures that are alike, with a map of them, copies with the one to keep, and labels.

import * as api from "./api.js";
import { byId, button, make, makeSvg } from "./dom.js";
import { say } from "./i18n.js";
import { initLabels, labelsOf, renewLabels, sheetsOfLabels, showLabelling } from "./labels.js";
import { openPicture } from "./picture.js";
import { navigate, now } from "./router.js";
import { sheetOf } from "./sheets.js";
import { LOOKS } from "./state.js";

const MAP = 1000;
/** Hues apart from those of neighbouring numbers. */
const HUE_STEP = 150;
const COLOURED = 12;

/** @type {{onSearch: any, onProblem: (text: string | null) => void, onChanged: () => Promise<void>}} */
let hooks;
/** @type {any} */
let info;
/** What is shown, with how it was made; null before anything was asked for. @type {string | null} */
let shown = null;
let asking = new AbortController();

/** @param {any} given of the server @param {typeof hooks} calls */
export function initGroups(given, calls) {
  info = given;
  hooks = calls;
  byId("groups-looks").replaceChildren(...LOOKS.map((look) =>
    button(`groups.${look}`, () => navigate({ look }, { replaces: true }), { id: `look-${look}` })));
  initLabels(info, { open, onStored });
}

/** Follow the state. @param {import("./router.js").State} state */
export function onGroupsState({ look, labelling }) {
  for (const each of LOOKS) byId(`look-${each}`).setAttribute("aria-pressed", String(each === look));
  const wanted = look === "labels" ? `${look} ${JSON.stringify(labelling)}` : look;
  if (wanted === shown) return;
  shown = wanted;
  showLabelling(look === "labels", labelling);
  load(look);
}

/** The gallery changed: look anew when it is shown again. @param {any} given */
export function renewGroups(given) {
  info = given;
  renewLabels(given);
  shown = null;
}

async function load(look) {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const sheets = byId("sheets");
  sheets.replaceChildren();
  byId("groups-map").hidden = true;
  sheets.setAttribute("aria-busy", "true");
  say(byId("groups-status"), "groups.working");
  try {
    if (look === "copies") showCopies(await api.duplicates({}, signal));
    else if (look === "labels") showLabels(await labelsOf(signal));
    else showGroups(await groupsOf(signal));
    hooks.onProblem(null);
  } catch (error) {
    if (error.name === "AbortError") return;
    shown = null;
    say(byId("groups-status"), () => "");
    hooks.onProblem(error.message);
  } finally {
    if (!signal.aborted) sheets.removeAttribute("aria-busy");
  }
}

/** Where the server cannot draw a map, the groups alone. */
async function groupsOf(signal) {
  try {
    return await api.groups({ map: true }, signal);
  } catch (error) {
    if (error.status !== 501) throw error;
    return api.groups({}, signal);
  }
}

function showGroups(found) {
  say(byId("groups-status"), "groups.status", { n: found.groups.length, all: found.n_pictures });
  showMap(found.places);
  byId("sheets").replaceChildren(...found.groups.map((group) => {
    const title = group.named
      ? make("h2", { text: group.title })
      : make("h2", { say: ["groups.number", { number: group.number }] });
    title.prepend(make("span", { class: "dot", vars: colourOf(group.number), "aria-hidden": "true" }));
    return sheetOf(title, group.pictures, group.size, open);
  }));
}

function showCopies(found) {
  const n = found.groups.reduce((sum, group) => sum + group.copies.length + group.more, 0);
  const key = n ? "copies.status" : "copies.none";
  say(byId("groups-status"), key, { n, of: found.groups.length, all: found.n_pictures, bits: found.radius });
  byId("sheets").replaceChildren(...found.groups.map((group) => {
    const pictures = [group.keep, ...group.copies];
    const title = make("h2", { text: group.keep.name });
    return sheetOf(title, pictures, pictures.length + group.more, open, (picture) => [noteOf(picture, group.keep)]);
  }));
}

function showLabels(found) {
  byId("sheets").replaceChildren(...sheetsOfLabels(found));
}

function noteOf(picture, keep) {
  const how = picture === keep ? "copies.keep" : picture.is_exact ? "copies.same" : ["copies.bits", { n: picture.distance }];
  return make("span", { class: picture === keep ? "note kept" : "note" },
    make("span", { say: how }),
    make("span", { text: ` · ${picture.width} × ${picture.height}` }));
}

function showMap(places) {
  const map = byId("groups-map");
  map.hidden = !places.length;
  const dots = places.map((place) =>
    makeSvg("circle", { cx: MAP * place.x, cy: MAP * place.y, r: 7, vars: colourOf(place.group) },
      makeSvg("title", { text: place.name })));
  map.replaceChildren(makeSvg("svg", { viewBox: `-20 -20 ${MAP + 40} ${MAP + 40}`, role: "img",
    label: ["groups.map", { n: places.length }] }, ...dots));
}

function colourOf(number) {
  return number !== null && number <= COLOURED ? { "--hue": (HUE_STEP * (number - 1)) % 360, "--grey": "0" } : { "--grey": "1" };
}

function open(pictures, at) {
  const focusBack = (picture) => byId("sheets").querySelector(`[data-id="${picture.id}"] button`)?.focus();
  const context = { pictures: [...pictures], mayRemove: info.writable, onSearch: hooks.onSearch, onRemoved, onClose: focusBack };
  openPicture(context, at);
}

async function onRemoved() {
  await hooks.onChanged();
  onGroupsState(now());
}

/** The pictures are the same, with new metadata. */
async function onStored(found) {
  const kept = shown;
  await hooks.onChanged();
  shown = kept;
  showLabels(found);
}
