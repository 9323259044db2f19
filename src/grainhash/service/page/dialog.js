// What all dialogs share: they close by their cross, by Escape and by a click beside them.

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

/** Whether arrow keys belong to what has the focus. @param {EventTarget | null} target */
export const usesArrows = (target) =>
  target instanceof Element && target.matches("input:not([type=checkbox]), textarea, select, [role=application]");
