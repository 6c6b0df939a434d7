/** Ids are copied by a click. Where the clipboard is closed to us, the whole is selected instead. */

import { toast } from "./toast.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const whole = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(whole);
    toast("Copied.");
  } catch {
    button.textContent = whole;
    getSelection().selectAllChildren(button);
    toast("Selected. Copy it with your keyboard.");
  }
});
