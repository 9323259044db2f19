// Talks to the server: one function a request. Asks for a token where one is needed, waits once where the
// server is busy, and turns every error into a `Problem`.

import { t } from "./i18n.js";

const BASE = "api/v1/";
const LONGEST_WAIT = 30;

/**
 * @typedef {import("./geometry.js").Box} Box
 * @typedef {{kind: "upload", key: string, name: string, file: File, url: string, width?: number, height?: number}} Upload
 * @typedef {{kind: "stored", key: string, name: string, id: number, width?: number, height?: number}} Stored
 * @typedef {Upload | Stored} Source a query picture
 */

/** An answer that is an error; `message` is fit to be shown. */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** @type {(send: (token: string) => Promise<boolean>, again: boolean) => Promise<void>} */
let askForToken = async () => {
  throw new Problem(401, t("error.token"));
};
let onWait = (_seconds) => {};
let signingIn = null;

/** Say who asks for a token, and who shows that the server is busy. */
export function connect(hooks) {
  askForToken = hooks.askForToken;
  onWait = hooks.onWait;
}

async function request(method, path, { params = {}, body, type, signal } = {}) {
  let hasWaited = false;
  let hasSignedIn = false;
  for (;;) {
    const response = await attempt(method, path, { params, body, type, signal });
    if (response.ok) return response;
    if (response.status === 401) {
      await signIn(hasSignedIn);
      hasSignedIn = true;
    } else if ((response.status === 503 || response.status === 429) && !hasWaited) {
      hasWaited = true;
      await pause(Number(response.headers.get("Retry-After")) || 1, signal);
    } else {
      throw await problemOf(response);
    }
  }
}

async function attempt(method, path, { params, body, type, signal }) {
  const headers = type ? { "Content-Type": type } : {};
  try {
    return await fetch(BASE + path + queryOf(params), { method, body, headers, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, t("error.network"));
  }
}

function queryOf(params) {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return text && `?${text}`;
}

async function signIn(again) {
  signingIn ??= askForToken(openSession, again).finally(() => {
    signingIn = null;
  });
  await signingIn;
}

async function openSession(token) {
  const body = JSON.stringify({ token });
  const response = await attempt("POST", "session", { params: {}, body, type: "application/json" });
  if (response.ok) return true;
  if (response.status === 401 || response.status === 403) return false;
  throw await problemOf(response);
}

function pause(seconds, signal) {
  const wait = Math.min(Math.max(seconds, 0.2), LONGEST_WAIT);
  onWait(Math.ceil(wait));
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * wait);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("aborted", "AbortError"));
    });
  });
}

async function problemOf(response) {
  const said = await response.json().catch(() => ({}));
  const detail = said.detail || said.title;
  return new Problem(response.status, detail ? sentence(String(detail)) : t("error.status", { status: response.status }));
}

function sentence(text) {
  const whole = text[0].toUpperCase() + text.slice(1);
  return /[.!?。]$/.test(whole) ? whole : `${whole}.`;
}

async function json(method, path, options) {
  return (await request(method, path, options)).json();
}

const uploaded = (file) => ({ body: file, type: file.type.startsWith("image/") ? file.type : "application/octet-stream" });

/** @param {Box | null} box */
export const boxText = (box) => box && box.map((edge) => Number(edge.toFixed(4))).join(",");

export const info = () => json("GET", "info");

/** Forget the token that was given. */
export const signOut = () => request("DELETE", "session");

/** @param {Source} source @param {Box | null} box */
export function search(source, box, settings, signal) {
  const params = { ...settings, region: boxText(box) };
  if (source.kind === "stored") return json("GET", `pictures/${source.id}/similar`, { params, signal });
  return json("POST", "search", { params, signal, ...uploaded(source.file) });
}

/** @param {Source} source @param {{region: Box | null, parts: number, bits: number, points: string | null}} how */
export function explain(source, id, { region, parts, bits, points }, signal) {
  const params = { region: boxText(region), parts, bits, points };
  if (source.kind === "stored") {
    return json("GET", `pictures/${id}/explain`, { params: { query: source.id, ...params }, signal });
  }
  return json("POST", `pictures/${id}/explain`, { params, signal, ...uploaded(source.file) });
}

export const pictures = (params, signal) => json("GET", "pictures", { params, signal });
export const groups = (params, signal) => json("GET", "groups", { params, signal });
export const duplicates = (params, signal) => json("GET", "duplicates", { params, signal });
export const labels = (params, signal) => json("GET", "labels", { params, signal });
export const storeLabels = (params) => json("POST", "labels", { params });
export const picture = (id, signal) => json("GET", `pictures/${id}`, { signal });
export const add = (file, name) => json("POST", "pictures", { params: { name }, ...uploaded(file) });
export const remove = (id) => request("DELETE", `pictures/${id}`);

export const thumbnailUrl = (id, side) => `${BASE}pictures/${id}/thumbnail?side=${side}`;
export const fileUrl = (id) => `${BASE}pictures/${id}/file`;

/** Where to load a query picture from. @param {Source} source */
export const sourceUrl = (source) => (source.kind === "stored" ? thumbnailUrl(source.id, 1024) : source.url);
