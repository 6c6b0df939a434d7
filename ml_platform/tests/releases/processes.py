"""The code of a release in a folder of its own, and processes that run it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
CHILD = Path(__file__).with_name("child.py")


class NoSuchRelease(Exception):
    """The history of this checkout does not have the commit, or there is none."""


def unpack(commit: str, folder: Path) -> Path:
    """Write the tree of a commit into a folder, and return it.

    :raises NoSuchRelease: the commit is not there.
    """
    packed = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True)
    if packed.returncode:
        raise NoSuchRelease(
            f"The commit {commit} is not there ({packed.stderr.decode().strip()}). "
            "Run it in a clone with the whole history: git fetch --unshallow."
        )
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


class Release:
    """A process that serves requests and works, by the code in a folder."""

    def __init__(self, name: str, code: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.ahead = 0.0
        self._process = subprocess.Popen(
            [sys.executable, str(CHILD)],
            cwd=code,
            env={**os.environ, **environment, "PYTHONPATH": str(code)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, what: str, **words: Any) -> Any:
        """Have it done, and return what it answered.

        :raises AssertionError: an error of that release's code.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"what": what, "words": words, "ahead": self.ahead}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it has ended"}
        if "error" in answer:
            raise AssertionError(f"{self.name}: {what} {words}: {answer['error']}")
        return answer["answer"]

    def end(self) -> None:
        """End the process; what it had claimed it has committed or left."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(30)
