/** Questions and plans in a modal dialog: the browser keeps the focus in it and Escape closes it. */

import { shelve } from "./toast.js";

/** Asks a question; resolves to whether the answer was yes. A deletion has the focus on `keep`. */
export function confirm(question, { verb, keep = "", tone = "main" }) {
  const words = document.createElement("p");
  words.textContent = question;
  const yes = button(verb, `mlp-act mlp-act--${tone}`);
  const no = button(keep || "Cancel", "mlp-act");
  const foot = document.createElement("div");
  foot.className = "mlp-dialog-foot";
  foot.append(no, yes);
  return new Promise((resolve) => {
    const dialog = open([words, foot], question, () => resolve(dialog.returnValue === "yes"));
    yes.addEventListener("click", () => dialog.close("yes"));
    no.addEventListener("click", () => dialog.close(""));
    (tone === "destroy" ? no : yes).focus();
  });
}

/** Opens a modal dialog with this content; `onClose` is called however it is closed. */
export function open(content, label, onClose = () => {}) {
  const dialog = document.createElement("dialog");
  dialog.className = "mlp-dialog";
  dialog.ariaLabel = label;
  dialog.append(...content);
  const before = document.activeElement;
  dialog.addEventListener("close", () => {
    shelve();
    dialog.remove();
    if (before?.isConnected) before.focus();
    onClose();
  });
  dialog.addEventListener("click", (event) => {
    // The second click of a double click meant the button that opened it.
    if (event.target === dialog && event.detail < 2) dialog.close("");
  });
  document.querySelector(".mlp").append(dialog);
  dialog.showModal();
  shelve();
  return dialog;
}

function button(text, style) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = style;
  made.textContent = text;
  return made;
}
