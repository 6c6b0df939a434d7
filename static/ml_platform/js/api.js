/** Sends requests to the site; every failure becomes a Failure with a message for the user. */

const PATIENCE = 30_000;
const NO_ANSWER = "The server did not answer.";

/** An error with its message; `answered` is false when it is unknown what the server did. */
export class Failure extends Error {
  constructor(message, { advice = "", status = 0, url = "", errors = [] } = {}) {
    super(message);
    this.advice = advice;
    this.status = status;
    this.errors = errors; // each wrong field with its sentence
    this.url = url; // of the operation that stands in the way
    this.answered = status > 0;
  }
}

/** A JSON answer to a GET. */
export function getJson(url) {
  return ask(url, { headers: { Accept: "application/json" } });
}

/** Sends a form and requests JSON. */
export function postForm(form) {
  return ask(form.action, {
    method: "POST",
    headers: { Accept: "application/json" },
    body: new URLSearchParams(new FormData(form)),
  });
}

/** A page of this site as a document. */
export async function getPage(url) {
  return parsed(await send(url, { headers: { Accept: "text/html" } }), "#mlp-main");
}

/** A part of a page and its tag; null if it still shows what it showed with the last tag. */
export async function getPart(url, last = "") {
  const answer = await send(url, { headers: { Accept: "text/html", "If-None-Match": last } });
  if (answer.status === 304) return null;
  const page = await parsed(answer, "[data-fragment]");
  return { part: page.querySelector("[data-fragment]"), tag: answer.headers.get("ETag") };
}

/** The answer as a document, which has this in it unless the user is logged out. */
async function parsed(answer, wanted) {
  if (!answer.ok) throw new Failure(`The page could not be read (${answer.status}).`, answer);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (!page.querySelector(wanted)) throw loggedOut(answer);
  return page;
}

async function ask(url, options) {
  const answer = await send(url, options);
  const kind = answer.headers.get("Content-Type") ?? "";
  if (!kind.startsWith("application/json")) {
    if (answer.redirected) throw loggedOut(answer);
    throw new Failure(refusal(answer.status), { status: answer.status });
  }
  const told = await answer.json();
  if (!answer.ok) throw new Failure(told.error, { ...told, status: answer.status });
  return told;
}

async function send(url, options) {
  try {
    return await fetch(url, { ...options, signal: AbortSignal.timeout(PATIENCE) });
  } catch {
    throw new Failure(NO_ANSWER);
  }
}

function loggedOut(answer) {
  return new Failure("You are logged out.", {
    advice: "Reload the page to log in again.",
    status: answer.status,
  });
}

function refusal(status) {
  if (status === 404) return "It no longer exists.";
  if (status === 403) return "The server refused it. Reload the page and try again.";
  return `The server failed (${status}).`;
}
