/** Shows a plan, or the question for a reason, in a dialog over the current page. */

import { getPage } from "./api.js";
import { open } from "./dialog.js";
import { complain } from "./toast.js";

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-plan]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (link.getAttribute("aria-busy")) return;
  link.setAttribute("aria-busy", "true");
  try {
    show(await getPage(link.href));
  } catch (failure) {
    complain(failure, { url: link.href, link: "Open its page" });
  } finally {
    link.removeAttribute("aria-busy");
  }
});

function show(page) {
  const plan = page.querySelector("#mlp-plan") ?? page.querySelector(".mlp-alert");
  const title = page.querySelector("h1");
  plan.removeAttribute("id");
  title.removeAttribute("id");
  const dialog = open([title, plan], title.textContent);
  dialog.classList.add("mlp-dialog--plan");
  for (const close of dialog.querySelectorAll("[data-close]")) {
    close.addEventListener("click", (event) => {
      event.preventDefault();
      dialog.close("");
    });
  }
  dialog.querySelector("input[name=name], textarea")?.focus();
}
