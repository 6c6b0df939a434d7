/** Polls a state, less often while it does not change, and not while the page is hidden. */

import { getJson } from "./api.js";

const GROWTH = 1.4;
const PATIENCE = 30 * 60_000;

/** The pause between two polls: longer while nothing changes, and unlimited while the user is away. */
export class Pace {
  constructor(first, slowest) {
    this.first = first;
    this.slowest = slowest;
    this.changed();
  }

  /** The state has changed: poll often again. */
  changed() {
    this.pause = this.first;
    this.since = Date.now();
  }

  /** Resolves when it is time to poll again. */
  async wait() {
    if (Date.now() - this.since > PATIENCE) {
      await someone();
      this.changed();
      return;
    }
    await sleep(this.pause);
    this.pause = Math.min(this.slowest, this.pause * GROWTH);
    if (!document.hidden) return;
    await wakeful();
    this.changed();
  }
}

/**
 * Polls `url` until its answer says `live: false`, and returns that answer.
 *
 * `onChange` gets every answer that differs from the one before. A failing network only makes it
 * wait longer; a subject that no longer exists ends it with null.
 */
export async function watch(url, onChange = () => {}) {
  const pace = new Pace(800, 15_000);
  let before = "";
  for (;;) {
    await wakeful();
    try {
      const now = await getJson(url);
      const told = JSON.stringify(now);
      if (told !== before) {
        pace.changed();
        onChange(now);
      }
      before = told;
      if (!now.live) return now;
    } catch (failure) {
      if (failure.status === 404) return null;
    }
    await pace.wait();
  }
}

/** Resolves when the page is visible: at once, or when the user comes back. */
export function wakeful() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resume) => {
    const look = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", look);
      resume();
    };
    document.addEventListener("visibilitychange", look);
  });
}

/** Resolves at the next activity of the user. */
function someone() {
  return new Promise((resume) => {
    const signs = ["visibilitychange", "pointermove", "keydown", "touchstart"];
    const end = () => {
      for (const sign of signs) document.removeEventListener(sign, end);
      resume();
    };
    for (const sign of signs) document.addEventListener(sign, end);
  });
}

/** A pause that ends early when the user or the network comes back. */
export function sleep(milliseconds) {
  return new Promise((resume) => {
    const end = () => {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", end);
      window.removeEventListener("online", end);
      resume();
    };
    const timer = setTimeout(end, milliseconds);
    document.addEventListener("visibilitychange", end);
    window.addEventListener("online", end);
  });
}
