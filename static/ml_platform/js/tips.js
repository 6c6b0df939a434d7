/** Explanations float above everything, so that no scroll box cuts them; Escape closes them. */

const GAP = 6;
let shown = null;

function show(event) {
  const tip = event.target.closest?.(".mlp-tipped")?.querySelector(".mlp-tip") ?? null;
  if (tip === shown) return;
  hide();
  if (!tip?.showPopover) return;
  const at = tip.parentElement.getBoundingClientRect();
  tip.popover = "manual";
  tip.showPopover();
  const { width, height } = tip.getBoundingClientRect();
  const above = at.top - height - GAP;
  const left = Math.min(at.left, innerWidth - width - 8);
  tip.style.left = `${Math.max(8, left)}px`;
  tip.style.top = `${above < 8 ? at.bottom + GAP : above}px`;
  shown = tip;
}

function hide() {
  if (shown?.isConnected) shown.hidePopover();
  shown?.removeAttribute("popover");
  shown = null;
}

document.addEventListener("pointerover", show);
document.addEventListener("focusin", show);
document.addEventListener("focusout", hide);
document.addEventListener("scroll", hide, true);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
});
