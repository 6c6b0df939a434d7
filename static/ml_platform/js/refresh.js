/** Updates the live parts of this page without a reload; the focus stays. */

import { getPage, getPart } from "./api.js";

let running = null;
let again = false;
const tags = new WeakMap(); // of the parts that are shown

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

/** Reads again only the part of the page in which something moves, if it has an address of its own.
 * When something has begun or ended in it, other parts have changed too. */
export async function refreshPart(moving) {
  const old = moving?.closest("[data-fragment]");
  if (!old || running) return refresh();
  const url = new URL(location.href);
  url.searchParams.set("fragment", old.dataset.live);
  const answer = await getPart(url, tags.get(old)).catch(() => null);
  if (!answer || !old.isConnected || isBusy(old)) return false;
  if (moved(answer.part) !== moved(old)) return refresh();
  const changed = put([[old, answer.part]]);
  tags.set(changed ? answer.part : old, answer.tag);
  return changed;
}

/** Whether a form of it is being sent. */
function isBusy(part) {
  return part.querySelector('[data-busy=""]') !== null;
}

function moved(part) {
  const all = [...part.querySelectorAll("[data-moving], [data-watch]")];
  return all.map((one) => one.dataset.watch ?? one.ariaLabel).join();
}

async function swap() {
  const page = await getPage(location.href).catch(() => null);
  if (!page) return false;
  const parts = [...document.querySelectorAll("[data-live]")];
  return put(parts.map((old) => [old, page.querySelector(`[data-live="${old.dataset.live}"]`)]));
}

/** Puts parts that differ in the place of the old ones; returns whether one did. */
function put(pairs) {
  let changed = false;
  const focus = describe(document.activeElement);
  for (const [old, part] of pairs) {
    if (isBusy(old)) continue;
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
