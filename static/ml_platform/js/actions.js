/** Buttons that change something: confirm, check again, send once, follow the operation to its end. */

import { Failure, getJson, postForm } from "./api.js";
import { confirm } from "./dialog.js";
import { watch } from "./poll.js";
import { refresh } from "./refresh.js";
import { complain, toast } from "./toast.js";

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form.mlp-do")) return;
  event.preventDefault();
  press(event.target);
});

async function press(form) {
  if (form.dataset.busy !== undefined) return;
  hold(form);
  (form.closest(".mlp-plan-foot") ?? form).querySelector(".mlp-error")?.remove();
  try {
    if (await mayGoOn(form)) await send(form);
    else release(form);
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    release(form);
    if (!failure.answered) failure.advice = advice(form);
    if (form.closest("dialog, #mlp-plan")) complainIn(form, failure);
    else complain(failure);
    refresh();
  }
}

/** Shows an error in the form, at its field where it has one. */
function complainIn(form, failure) {
  const foot = form.closest(".mlp-plan-foot") ?? form;
  foot.querySelector(".mlp-error")?.remove();
  const line = document.createElement("p");
  line.className = "mlp-error";
  line.id = "mlp-form-error";
  line.role = "alert";
  const wrong = failure.errors.find((error) => form.elements[error.field]);
  line.textContent = wrong?.message ?? `${failure.message} ${failure.advice}`.trim();
  foot.prepend(line);
  const first = form.querySelector("input:not([type=hidden]), textarea");
  const field = wrong ? form.elements[wrong.field] : first;
  if (!field) return;
  field.ariaInvalid = "true";
  field.setAttribute("aria-describedby", line.id);
  field.focus();
}

/** Without an answer the result is unknown; the form's key makes a second press the same request. */
function advice(form) {
  return form.elements.key ? "Press again: it is done only once." : "Check the page before you press again.";
}

async function mayGoOn(form) {
  const name = form.querySelector("button").ariaLabel ?? form.querySelector("button").textContent;
  const question = form.dataset.confirm;
  if (question) {
    const tone = form.querySelector(".mlp-act--danger") ? "destroy" : "main";
    if (!(await confirm(question, { verb: name, keep: form.dataset.keep, tone }))) return false;
  }
  // The page may be outdated: check whether the action is still allowed, and stop here if not.
  if (form.dataset.check) refuse((await getJson(form.dataset.check)).why, name);
  return true;
}

function refuse(why, name) {
  if (why) throw new Failure(`${name}: ${why}`, { status: 409 });
}

async function send(form) {
  const begun = await postForm(form);
  form.dataset.busy = "sent"; // the fresh page brings a fresh form in its place
  if (document.getElementById("mlp-plan")) {
    location.assign(begun.url); // a page that is only this plan has nothing left to show
    return;
  }
  for (const dialog of [...document.querySelectorAll("dialog[open]")].reverse()) dialog.close("");
  if (begun.watch) follow(begun.watch, begun.url);
  else refresh();
}

const followed = new Set();

/** Follows an operation: updates the page, and shows how it ended. */
export async function follow(watchUrl, url) {
  if (followed.has(watchUrl)) return;
  followed.add(watchUrl);
  let shown = null;
  const end = await watch(watchUrl, (now) => {
    if (now.live) {
      shown ??= toast(`${now.what}.`, { tone: "busy", url, link: "Watch it" });
      refresh();
    }
  });
  followed.delete(watchUrl);
  shown?.remove();
  await refresh();
  if (!end) return;
  const tone = end.status === "succeeded" ? "good" : "bad";
  if (end.status === "cancelled") toast(`${end.what}.`, { url });
  else toast(`${end.what}. ${end.error}`.trim(), { tone, advice: end.advice, url });
}

/** Disabled at once, so that a double click sends once; the focus does not move. */
function hold(form) {
  form.dataset.busy = "";
  for (const button of form.querySelectorAll("button")) {
    button.setAttribute("aria-disabled", "true");
    button.setAttribute("aria-busy", "true");
  }
}

function release(form) {
  delete form.dataset.busy;
  for (const button of form.querySelectorAll("button")) {
    button.removeAttribute("aria-disabled");
    button.removeAttribute("aria-busy");
  }
}
