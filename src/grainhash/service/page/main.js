// Starts the page: asks what the gallery is, and joins address, views and pictures that come in.

import * as api from "./api.js";
import { initBrowse, onBrowseState, renewBrowse } from "./browse.js";
import { byId, button, make } from "./dom.js";
import { initGroups, onGroupsState, renewGroups } from "./groups.js";
import { initLanguage, say, t } from "./i18n.js";
import { pick, takePictures } from "./intake.js";
import { TABS, follow, navigate, now } from "./router.js";
import { initSearch, onSearchState, retellSearch, searchFile, searchFrom } from "./search.js";
import { askForToken } from "./token.js";

const VIEWS = { search: onSearchState, browse: onBrowseState, groups: onGroupsState };

/** @type {any} */
let info;

async function start() {
  initLanguage(byId("language"), () => {
    retellSearch();
    showTitle();
  });
  api.connect({ askForToken, onWait: (n) => showProblem(t("error.busy", { n })) });
  byId("skip").addEventListener("click", skip);
  byId("pick").addEventListener("click", pick);
  showTabs();
  info = await api.info();
  showGallery();
  initSearch(info, { onProblem: showProblem, onChanged: renew });
  initBrowse(info, { onSearch: searchFrom, onProblem: showProblem, onChanged: renew });
  initGroups(info, { onSearch: searchFrom, onProblem: showProblem, onChanged: renew });
  takePictures({ onFile: searchFile, onProblem: showProblem, maxBytes: () => info.max_upload_bytes });
  follow(onState);
}

/** @param {import("./router.js").State} state @param {import("./router.js").State} before */
function onState(state, before) {
  if (state.tab !== before.tab || state.source !== before.source) showProblem(null);
  for (const tab of TABS) {
    byId(`view-${tab}`).hidden = tab !== state.tab;
    const link = byId(`tab-${tab}`);
    if (tab === state.tab) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  VIEWS[state.tab](state, before);
  showTitle();
}

function showTabs() {
  byId("tabs").replaceChildren(...TABS.map((tab) =>
    make("a", { href: `#/${tab}`, id: `tab-${tab}`, say: `tab.${tab}`, on: { click: (event) => go(event, tab) } })));
}

/** The tab that one is at already begins anew. */
function go(event, tab) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (now().tab === tab && tab === "search") navigate({ source: null, box: null });
  else navigate({ tab });
}

/** A link would take the place of the state in the address. */
function skip(event) {
  event.preventDefault();
  byId("main").focus();
}

function showTitle() {
  const { tab, source } = now();
  const about = tab === "search" ? source?.name : t(`${tab}.title`);
  document.title = about ? `${about} – grainhash` : "grainhash";
}

function showGallery() {
  const { name, pictures, regions, n_bits: bits, version, encoder_name: encoder } = info;
  say(byId("gallery-facts"), "gallery.facts", { name, pictures, regions, bits });
  say(byId("version"), "version", { version, encoder });
  byId("session").replaceChildren(...(info.may_write ? [button("token.forget", forget, { class: "quiet" })] : []));
}

/** The gallery changed. */
async function renew() {
  info = await api.info();
  showGallery();
  renewBrowse(info);
  renewGroups(info);
}

async function forget() {
  await api.signOut();
  location.reload();
}

/** @param {string | null} text */
function showProblem(text) {
  byId("problem").hidden = text === null;
  say(byId("problem"), () => text ?? "");
}

start().catch((error) => showProblem(error.message));
