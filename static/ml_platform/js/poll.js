/** Asks again and again how something stands: ever more rarely, not while nobody looks. */

import { getJson } from "./api.js";

const FIRST = 800;
const SLOWEST = 15_000;
const GROWTH = 1.4;

/**
 * Polls `url` until its answer says `live: false`, and returns that answer.
 *
 * `onChange` hears every answer that differs from the one before. A failing network only makes it
 * wait longer; a thing that is not there any more ends it with null.
 */
export async function watch(url, onChange = () => {}) {
  let pause = FIRST;
  let before = "";
  for (;;) {
    await wakeful();
    try {
      const now = await getJson(url);
      const told = JSON.stringify(now);
      if (told !== before) {
        pause = FIRST;
        onChange(now);
      }
      before = told;
      if (!now.live) return now;
    } catch (failure) {
      if (failure.status === 404) return null;
    }
    await sleep(pause);
    pause = Math.min(SLOWEST, pause * GROWTH);
  }
}

/** Resolves when the page is visible: at once, or when the person comes back. */
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

/** A pause that ends early when the person comes back or the network does. */
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
