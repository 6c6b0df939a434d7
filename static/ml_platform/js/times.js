/** Updates relative times on a page that stays open. */

const UNITS = [
  [86_400 * 365, "y"],
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
];
const EVERY = 20_000;

/** As pages/view_models/times.py formats them: `3 min ago`, short `3m`, a length `3 min 05 s` or `3:05`. */
function spell(seconds, form) {
  if (form === "long") return length(Math.max(0, Math.floor(seconds)));
  if (form === "clock") return clock(Math.max(0, Math.floor(seconds)));
  const text = relative(seconds);
  if (form !== "short") return text;
  return text.replace(/ ago$|^just /, "").replace(/(\d+) ([a-z])[a-z]*/, "$1$2");
}

function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  const two = (number) => String(number).padStart(2, "0");
  const rest = two(seconds % 60);
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${rest}`;
}

function length(seconds) {
  const minutes = Math.floor(seconds / 60);
  const two = (number) => String(number).padStart(2, "0");
  if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  return minutes ? `${minutes} min ${two(seconds % 60)} s` : `${seconds} s`;
}

function relative(seconds) {
  for (const [size, unit] of UNITS) {
    if (Math.abs(seconds) >= size) {
      const count = Math.floor(Math.abs(seconds) / size);
      return seconds > 0 ? `${count} ${unit} ago` : `in ${count} ${unit}`;
    }
  }
  return "just now";
}

setInterval(() => {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const text = spell((Date.now() - Date.parse(time.dateTime)) / 1000, time.dataset.form);
    if (time.textContent !== text) time.textContent = text;
  }
}, EVERY);
