/** A click copies an id. Where the clipboard is not available, it selects the id instead. */

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
