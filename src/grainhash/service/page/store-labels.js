// Asks under which key of metadata to store labels.

import { button, make } from "./dom.js";
import { makeDialog } from "./dialog.js";
import { say } from "./i18n.js";

/**
 * Ask, and store; the dialog stays open while that fails, and says why.
 *
 * @param {string} proposed
 * @param {(key: string, replace: boolean) => Promise<void>} store
 */
export function askForKey(proposed, store) {
  const problem = make("p", { class: "problem", role: "alert", hidden: true });
  const input = make("input", {
    id: "labels-key", type: "text", value: proposed, required: true, maxlength: "200", spellcheck: "false",
    autocapitalize: "off", autocomplete: "off", "aria-describedby": "labels-key-hint",
  });
  const replace = make("input", { type: "checkbox" });
  const send = make("button", { class: "primary", say: "labels.storeNow" });
  const form = make("form", {},
    make("h2", { id: "labels-store-title", say: "labels.storeTitle" }),
    make("label", { for: "labels-key", say: "labels.key" }),
    input,
    make("p", { class: "hint", id: "labels-key-hint", say: "labels.keyHint" }),
    make("label", { class: "tick" }, replace, make("span", { say: "labels.replace" })),
    problem,
    make("div", { class: "row" }, send, button("cancel", () => dialog.close())));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = send.disabled = true;
    try {
      await store(input.value.trim(), replace.checked);
      dialog.close();
    } catch (error) {
      say(problem, () => error.message);
      problem.hidden = false;
    } finally {
      send.disabled = false;
    }
  });
  const dialog = makeDialog({ class: "small", labelledBy: "labels-store-title", onClose: () => dialog.remove() }, form);
  dialog.showModal();
  input.select();
}
