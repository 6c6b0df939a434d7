/** Updates the running operations and training runs on this page. */

import { Pace, wakeful, watch } from "./poll.js";
import { refresh, refreshPart } from "./refresh.js";

const AT_ONCE = 8;
const FIRST = 5_000;
const SLOWEST = 60_000;
const watched = new Set();
let ticking = false;

function begin() {
  for (const shown of document.querySelectorAll("[data-watch]")) {
    const url = shown.dataset.watch;
    if (watched.has(url) || watched.size >= AT_ONCE) continue;
    watched.add(url);
    const change = () => refreshPart(document.querySelector(`[data-watch="${url}"]`));
    watch(url, change).then(() => watched.delete(url)).then(refresh);
  }
  tick();
}

/** A run has no address to poll: the table is read again, less often if nothing changes. */
async function tick() {
  if (ticking) return;
  ticking = true;
  const pace = new Pace(FIRST, SLOWEST);
  while (document.querySelector("[data-moving]")) {
    await pace.wait();
    await wakeful();
    if (await refreshPart(document.querySelector("[data-moving]"))) pace.changed();
  }
  ticking = false;
}

document.addEventListener("mlp:fresh", begin);
begin();
