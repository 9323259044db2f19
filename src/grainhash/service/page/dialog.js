// What all dialogs share: they close by their cross, by Escape and by a click beside them;
// those that show one of several step by arrow keys.

import { make } from "./dom.js";

const CROSS = "×";

/**
 * Make a dialog and put it into the page.
 *
 * @param {{class: string, labelledBy: string, onClose?: () => void}} props
 * @param {...Node} children
 * @returns {HTMLDialogElement}
 */
export function makeDialog({ class: name, labelledBy, onClose = () => {} }, ...children) {
  const dialog = make("dialog", { class: name, "aria-labelledby": labelledBy }, ...children);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("close", onClose);
  document.body.append(dialog);
  return dialog;
}

/** @param {() => HTMLDialogElement} dialog */
export function closeButton(dialog) {
  return make("button", { type: "button", class: "icon", label: "close", text: CROSS, on: { click: () => dialog().close() } });
}

/**
 * Step back and on by the left and right arrow keys.
 *
 * @param {HTMLDialogElement} dialog
 * @param {(by: number) => void} step
 */
export function stepByArrows(dialog, step) {
  dialog.addEventListener("keydown", (event) => {
    if (usesArrows(event.target) || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  });
}

/** The last step disables its button, which would lose the focus. @param {HTMLElement} title */
export function keepFocus(title) {
  if (document.activeElement instanceof HTMLButtonElement && document.activeElement.disabled) title.focus();
}

/** Whether arrow keys belong to what has the focus. @param {EventTarget | null} target */
const usesArrows = (target) =>
  target instanceof Element && target.matches("input:not([type=checkbox]), textarea, select, [role=application]");
