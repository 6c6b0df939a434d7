"""The processes of the installation, seen from the process that holds the local cloud."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

STARTING = 300.0
"""Seconds that the nursery has to import everything, on a machine that does other work too."""


class Processes:
    """The other end of `nursery`: children by name, each with a log of its own."""

    def __init__(self, folder: Path, port: int, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._children: dict[str, int] = {}
        self._ended: dict[int, int] = {}
        self._said: queue.Queue[dict[str, Any]] = queue.Queue()
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ml_platform.tests.stateful.soak.nursery", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def wait_until_ready(self) -> None:
        """Wait for the imports.

        :raises queue.Empty: they took too long, or failed.
        """
        self._said.get(timeout=STARTING)

    def begin(self, name: str, role: str, *words: str) -> None:
        """Start a child under that name."""
        log = str(self.folder / f"{name}.log")
        pipe = _pipe(self._process.stdin)
        pipe.write(json.dumps({"role": role, "words": words, "log": log}) + "\n")
        pipe.flush()
        self._children[name] = int(self._said.get(timeout=30)["pid"])

    def lives(self, name: str) -> bool:
        """Whether that child was started and has not ended."""
        return name in self._children and self._children[name] not in self._ended

    def ended(self) -> list[tuple[str, int]]:
        """(name, exit code) of those that have ended since it was asked last."""
        with self._lock:
            gone = [(name, pid) for name, pid in self._children.items() if pid in self._ended]
            for name, _ in gone:
                del self._children[name]
            return [(name, self._ended[pid]) for name, pid in gone]

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a child, if it lives."""
        if self.lives(name):
            with suppress(ProcessLookupError):
                os.kill(self._children[name], number)

    def close(self) -> None:
        """End them all at once."""
        with suppress(BrokenPipeError):
            _pipe(self._process.stdin).close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        for line in _pipe(self._process.stdout):
            said = json.loads(line)
            with self._lock:
                if "ended" in said:
                    self._ended[said["ended"]] = said["code"]
                    continue
                self._ended.pop(said.get("pid", 0), None)  # an id is used again in time
            self._said.put(said)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
