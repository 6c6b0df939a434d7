"""Where the system's Chromium is, and how it starts without looking beyond this machine."""

from __future__ import annotations

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "No browser found: install one with `apt-get install chromium`."

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)


def find_browser() -> str:
    """Path of the first Chromium or Chrome on PATH, '' when there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), "")
