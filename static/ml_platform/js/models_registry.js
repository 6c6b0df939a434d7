/** The Model Registry table: filters that apply themselves, and no deploy of what is missing. */

import { guard } from "./actions.js";

guard((form) => {
  const missing = form.closest("tr")?.querySelector(".registry-missing");
  return missing && form.action.includes("/deploy-run/")
    ? "It is not in the Vertex AI Model Registry."
    : "";
});

// Coming back, a browser would show what was chosen last beside a table of something else.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[method=get]")) form.reset();
});

for (const select of document.querySelectorAll(".mlp-filters select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input, select, textarea")) return;
  if (document.querySelector("dialog[open]")) return;
  event.preventDefault();
  document.querySelector(".mlp-filters [type=search]")?.focus();
});
