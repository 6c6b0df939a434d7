/** The Model Registry table: filters apply on change, and "/" goes to the search field. */

// After a step back, a browser would show the last filters above a table with other filters.
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
