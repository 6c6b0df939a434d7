/** Short messages at the edge of the page; errors stay until they are closed. */

const STAYS = 6_000;
let shelf;

/** Shows a message; `tone` is good, bad or busy. Returns the toast, to change or remove it. */
export function toast(text, { tone = "good", advice = "", url = "", link = "Show it" } = {}) {
  shelf ??= element("div", "mlp-toasts");
  shelve();
  const box = element("div", `mlp-toast mlp-toast--${tone}`);
  box.setAttribute("role", tone === "bad" ? "alert" : "status");
  shelf.append(box);
  const words = element("p", "", text);
  if (advice) words.append(" ", element("span", "mlp-toast-advice", advice));
  if (url) {
    const go = element("a", "", link);
    go.href = url;
    words.append(" ", go);
  }
  const close = element("button", "mlp-link", "✕");
  close.type = "button";
  close.ariaLabel = "Close this message";
  close.addEventListener("click", () => box.remove());
  box.append(words, close);
  if (tone === "good") setTimeout(() => box.remove(), STAYS);
  return box;
}

/** Moves the messages into the open dialog, because everything outside it is inert. */
export function shelve() {
  if (!shelf) return;
  const dialog = [...document.querySelectorAll("dialog[open]")].at(-1);
  if (dialog && !dialog.contains(shelf)) dialog.prepend(shelf);
  else if (!dialog) document.querySelector(".mlp").append(shelf);
}

/** Shows a failure. */
export function complain(failure, more = {}) {
  return toast(failure.message, { tone: "bad", advice: failure.advice, url: failure.url, link: "Show the blocking operation", ...more });
}

function element(name, style, text = "") {
  const made = document.createElement(name);
  if (style) made.className = style;
  made.textContent = text;
  return made;
}
