"""Where Chromium is, how it gets there, and how it starts without looking beyond this machine."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "No browser found: install one with `apt-get install chromium`."
INSTALL = (
    ("apt-get", "update", "-qq"),
    ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"),
)

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


def provide_browser() -> str:
    """Path of a browser, installed first where there is none and we are root beside `apt-get`.

    :raises FileNotFoundError: there is none; it says what to do.
    """
    if not find_browser() and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in INSTALL:
            print(f"No browser found: {shlex.join(command)}", flush=True)
            _run_unasked(command)
    if path := find_browser():
        return path
    raise FileNotFoundError(MISSING)


def _run_unasked(command: tuple[str, ...]) -> None:
    """Run it with nobody there to answer a question; what it could not do, it says itself."""
    unasked = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL, env=unasked)
