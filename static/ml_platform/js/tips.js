/** Tooltips are shown above everything, so that no scroll box cuts them; Escape closes them. */

const GAP = 6;
const EDGE = 8;
let shown = null;

function show(event) {
  const tip = event.target.closest?.(".mlp-tipped")?.querySelector(".mlp-tip") ?? null;
  if (tip === shown) return;
  hide();
  if (!tip?.showPopover) return;
  tip.popover = "manual";
  tip.showPopover();
  shown = tip;
  place();
}

/** Above its element, or below where there is no room. */
function place() {
  if (!shown?.isConnected) return;
  const at = shown.parentElement.getBoundingClientRect();
  const { width, height } = shown.getBoundingClientRect();
  const above = at.top - height - GAP;
  const left = Math.min(at.left, document.documentElement.clientWidth - width - EDGE);
  shown.style.left = `${Math.max(EDGE, left)}px`;
  shown.style.top = `${above < EDGE ? at.bottom + GAP : above}px`;
}

function hide() {
  if (!shown) return;
  if (shown.isConnected) shown.hidePopover();
  for (const name of ["popover", "style"]) shown.removeAttribute(name);
  shown = null;
}

document.addEventListener("pointerover", show);
document.addEventListener("focusin", show);
document.addEventListener("focusout", hide);
document.addEventListener("scroll", place, true);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
});
