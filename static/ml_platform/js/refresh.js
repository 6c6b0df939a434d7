/** Updates the live parts of this page without a reload; the focus stays. */

import { getPage } from "./api.js";

let running = null;
let again = false;

/** Reads this page again and replaces what changed; resolves to whether anything did. Calls during
 * a reading cause one more. */
export function refresh() {
  again = running !== null;
  running ??= swap().finally(() => {
    running = null;
    if (again) refresh();
  });
  return running;
}

async function swap() {
  const page = await getPage(location.href).catch(() => null);
  if (!page) return false;
  let changed = false;
  const focus = describe(document.activeElement);
  for (const old of document.querySelectorAll("[data-live]")) {
    const part = page.querySelector(`[data-live="${old.dataset.live}"]`);
    if (old.querySelector('[data-busy=""]')) continue; // a form of it is being sent
    if (part && same(part) === same(old)) continue;
    changed ||= old.dataset.live !== "nav";
    if (part) old.replaceWith(document.adoptNode(part));
    else old.replaceChildren();
  }
  document.dispatchEvent(new CustomEvent("mlp:fresh"));
  if (focus && !document.querySelector("dialog[open]")) find(focus)?.focus();
  return changed;
}

/** The part's markup without what differs in every answer: tokens, keys and ages. */
function same(part) {
  const copy = part.cloneNode(true);
  for (const field of copy.querySelectorAll("input[type=hidden]")) field.remove();
  for (const time of copy.querySelectorAll("time")) time.textContent = "";
  return copy.outerHTML;
}

function describe(focused) {
  if (!focused?.closest("[data-live]")) return null;
  const row = focused.closest("[id]");
  return { row: row?.id ?? "", label: focused.ariaLabel ?? focused.textContent };
}

function find({ row, label }) {
  const where = document.getElementById(row) ?? document;
  const things = where.querySelectorAll("a, button, summary, input");
  return [...things].find((one) => (one.ariaLabel ?? one.textContent) === label);
}
