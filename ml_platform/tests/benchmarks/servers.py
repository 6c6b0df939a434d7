"""Servers as processes of their own, and a client that keeps its connection to one."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
HOST = "127.0.0.1"
STARTING = 180.0
"""Seconds that a server has until its first answer."""
ANSWERING = 120.0


class Client:
    """One connection that stays open, as in the pool of a program."""

    def __init__(self, port: int, headers: Mapping[str, str] | None = None) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=ANSWERING)
        self._headers = dict(headers or {})

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """The body of the answer; a connection that the server has closed is opened again, as
        uvicorn does after five idle seconds.

        :raises RuntimeError: the answer is not a success.
        """
        try:
            status, answer = self.answer(method, path, body)
        except ConnectionError:
            status, answer = self.answer(method, path, body)
        if not 200 <= status < 300:
            raise RuntimeError(f"{method} {path}: {status} {answer[:500]!r}")
        return answer

    def answer(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """The status and the body of the answer, whatever it is.

        :raises OSError: there was none; HTTPException too.
        """
        data = None if body is None else json.dumps(body)
        headers = self._headers | ({"Content-Type": "application/json"} if data else {})
        try:
            self._connection.request(method, path, data, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise


class Process:
    """A program in a process group of its own."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("w") as output:
            self._process = subprocess.Popen(
                command,
                cwd=log.parent,
                env={**os.environ, **environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def memory(self) -> float:
        """MiB of the process and its children; what they share counts once (PSS).

        Read from Linux's /proc.
        """
        return sum(map(_pss, _tree(self._process.pid))) / 1024

    def lives(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Stop it and what it has started, and wait for it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[Process]:
    """Run a program until the block ends; its output is in `log`."""
    process = Process(command, environment, log)
    try:
        yield process
    finally:
        process.end()


def wait_for(process: Process, client: Client, path: str) -> float:
    """Wait until the server answers; returns the seconds.

    :raises RuntimeError: it ended, or does not answer in time.
    """
    begun = time.monotonic()
    while time.monotonic() < begun + STARTING and process.lives():
        with suppress(OSError, http.client.HTTPException, RuntimeError):
            client.ask("GET", path)
            return time.monotonic() - begun
        time.sleep(0.05)
    raise RuntimeError(f"No answer of {path}:\n{process.log.read_text()[-3000:]}")


def gunicorn(port: int, *, workers: int, threads: int) -> list[str]:
    """The command that serves the demo host; connections stay open."""
    given = {"workers": workers, "threads": threads, "keep-alive": 75, "graceful-timeout": 1}
    options = [f"--{name}={value}" for name, value in given.items()]
    where = f"--bind={HOST}:{port}"
    module = f"{__package__}.wsgi:application"
    program = [sys.executable, "-m", "gunicorn", "--worker-class=gthread", "--log-level=warning"]
    return [*program, *options, f"--chdir={ROOT}", where, module]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _tree(pid: int) -> list[int]:
    try:
        lists = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    children = [int(child) for text in lists for child in text.split()]
    return [pid, *(one for child in children for one in _tree(child))]


def _pss(pid: int) -> int:
    """KiB; 0 for a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
