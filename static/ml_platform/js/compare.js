/** The versions of a model: compares the chosen ones at once and stores them in the address. */

import { refresh } from "./refresh.js";

document.addEventListener("change", ({ target }) => {
  const form = target.form;
  if (form?.id !== "mlp-compare") return;
  const url = new URL(location.href);
  url.searchParams.delete("v");
  for (const [name, value] of new FormData(form)) url.searchParams.append(name, value);
  history.replaceState(null, "", url);
  refresh();
});
