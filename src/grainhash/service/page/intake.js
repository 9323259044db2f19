// How pictures come in: dropped anywhere on the page, pasted, or picked.

import { byId } from "./dom.js";
import { t } from "./i18n.js";

/** Kinds that browsers may not name but the server may read. */
const EXTENSIONS = /\.(jpe?g|png|webp|gif|bmp|tiff?|heic|heif|avif|jfif)$/i;

/**
 * @param {{onFile: (file: File) => void, onProblem: (text: string) => void, maxBytes: () => number}} hooks
 */
export function takePictures({ onFile, onProblem, maxBytes }) {
  const take = (/** @type {File[]} */ files) => {
    const file = files.find(isPicture) ?? files[0];
    const problem = problemOf(file, maxBytes());
    if (problem) onProblem(problem);
    else onFile(file);
  };
  takeDrops(take, onProblem);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    take(files);
  });
  byId("file").addEventListener("change", () => {
    const files = [...byId("file").files];
    byId("file").value = ""; // so that the same file can be picked again
    if (files.length > 0) take(files);
  });
}

/** Open the system's own dialog. */
export const pick = () => byId("file").click();

function takeDrops(take, onProblem) {
  const veil = byId("drop-veil");
  let depth = 0; // the page is entered anew with each element under the pointer
  const show = (isOver) => {
    depth = isOver ? depth : 0;
    veil.classList.toggle("shown", isOver);
  };
  const listen = (type, act) => window.addEventListener(type, act);
  listen("dragenter", (event) => {
    if (!carriesPicture(event)) return;
    depth += 1;
    show(true);
  });
  listen("dragleave", () => {
    depth -= 1;
    if (depth <= 0) show(false);
  });
  listen("dragover", (event) => {
    if (carriesPicture(event)) event.preventDefault();
  });
  listen("drop", (event) => {
    show(false);
    if (!carriesPicture(event)) return;
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    if (files.length > 0) take(files);
    else onProblem(t("error.link"));
  });
}

const carriesPicture = (event) =>
  ["Files", "text/uri-list"].some((type) => event.dataTransfer?.types.includes(type)) && !isTextField(event.target);

const isTextField = (target) => target instanceof Element && target.matches("input, textarea");

const isPicture = (file) => file.type.startsWith("image/") || EXTENSIONS.test(file.name);

function problemOf(file, maxBytes) {
  if (!isPicture(file)) return t("error.notPicture", { name: file.name });
  if (file.size > maxBytes) return t("error.tooLarge", { name: file.name, mb: Math.floor(maxBytes / 1e6) });
  return null;
}
