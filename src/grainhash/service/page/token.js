// Asks for a token when the server does, and has it exchanged for a cookie that no script can read.

import { Problem } from "./api.js";
import { button, make } from "./dom.js";
import { makeDialog } from "./dialog.js";
import { say, t } from "./i18n.js";

/**
 * Ask until a token is accepted.
 *
 * @param {(token: string) => Promise<boolean>} send whether the server accepts it
 * @param {boolean} again whether another token was given before, which does not allow what is asked
 * @throws {Problem} the person will not give one
 */
export function askForToken(send, again) {
  const wrong = make("p", { class: "problem", role: "alert", hidden: true, say: "token.wrong" });
  const input = make("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
  const title = make("h2", { id: "token-title", say: "token.title" });
  const why = make("p", { say: again ? "token.again" : "token.read" });
  const form = make(
    "form",
    {},
    title,
    why,
    make("label", { for: "token", say: "token.label" }),
    input,
    wrong,
    make("div", { class: "row" }, make("button", { class: "primary", say: "token.send" }), button("cancel", () => dialog.close())),
  );
  let isAccepted = false;
  return new Promise((resolve, reject) => {
    const end = () => {
      dialog.remove();
      if (isAccepted) resolve();
      else reject(new Problem(401, t("error.token")));
    };
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      wrong.hidden = true;
      try {
        isAccepted = await send(input.value);
        if (isAccepted) dialog.close();
        say(wrong, "token.wrong");
      } catch (error) {
        say(wrong, () => error.message);
      }
      wrong.hidden = isAccepted;
    });
    dialog = makeDialog({ class: "small", labelledBy: "token-title", onClose: end }, form);
    dialog.showModal();
  });
}

/** @type {HTMLDialogElement} */
let dialog;
