"""A foreign project in a folder of its own, typed from docs/host.md, and its running processes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .page import blocks

PORTS = ("8000", "8790", "8791")
"""The ports on the page: site, local cloud by gRPC and by HTTP. Each host gets free ones."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a host has of its own, beyond the page."""

    name: str
    title: str
    files: Mapping[str, str] = field(default_factory=dict)
    """Text that each file gets at its end."""
    before: str = ""
    """Commands before the first check."""
    serve: str = "python manage.py runserver 8000"
    address: str = "http://127.0.0.1:8000"
    """Where the site's own addresses begin."""
    make_project: str = (
        "from ml_platform.models import Project; print(Project.objects.create(name='shop').pk)"
    )
    """Python that makes a tenant and prints its key."""
    models: int = 1
    """How many there are when all in Vertex AI are adopted."""
    own: Mapping[str, Callable[[Any], None]] = field(default_factory=dict)
    """Checks of a visitor before those of the table."""


class Failed(AssertionError):
    """What a host answered instead of what it should."""


class Host:
    """The folder, the environment, and the processes that the page starts."""

    def __init__(self, kind: Kind, folder: Path, python: Path, wheels: Path) -> None:
        self.kind, self.folder = kind, folder
        self._ports = dict(zip(PORTS, free_ports(), strict=True))
        self._groups: list[int] = []
        self.environment = {
            **{name: value for name, value in os.environ.items() if not _is_ours(name)},
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "PIP_NO_INDEX": "1",
            "PYTHONDONTWRITEBYTECODE": "",
        }
        folder.mkdir()
        (folder / "dist").symlink_to(wheels)

    def url(self, path: str) -> str:
        """The address of a path of the site."""
        return self._own(self.kind.address) + path

    @property
    def cloud(self) -> str:
        """Base URL of the local cloud's HTTP server."""
        return f"http://127.0.0.1:{self._ports['8791']}"

    @property
    def cloud_grpc(self) -> str:
        """The local cloud's gRPC server."""
        return f"127.0.0.1:{self._ports['8790']}"

    def install(self) -> float:
        """Type the page from its first line to the first count; returns how long that took."""
        started = time.monotonic()
        scripts = 0
        for block in blocks("Install"):
            if block.file:
                self._append(block.file, block.text)
                continue
            scripts += 1
            if scripts == 2:
                self._make_its_own()
            if scripts == 3:
                self.counted = self._type(block.text)
            else:
                self._type(block.text)
        return time.monotonic() - started

    def _make_its_own(self) -> None:
        for block in (*blocks("Cloud Scheduler"), *blocks("Tests of your project")):
            self._append(*block)
        for name, text in self.kind.files.items():
            self._append(name, text)
        if self.kind.before:
            self._type(self.kind.before)

    def _append(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as end:
            end.write("\n" + self._own(text))

    def _own(self, text: str) -> str:
        text = text.replace("python manage.py runserver 8000", self.kind.serve)
        return re.sub(r"\b(8000|8790|8791)\b", lambda port: self._ports[port[1]], text)

    def manage(self, *arguments: str) -> str:
        """The output of a management command; Failed if it exits with an error."""
        return self._run(["python", "manage.py", *arguments])

    def _type(self, script: str) -> str:
        return self._run(["bash", "-e", "-c", self._own(script)])

    def _run(self, command: list[str]) -> str:
        # Not a pipe: what a script starts in the background would hold it open.
        output = self.folder / f"output-{len(self._groups)}.txt"
        with output.open("w") as out:
            done = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(done.pid)
            code = done.wait()
        said = output.read_text()
        if code:
            raise Failed(f"{' '.join(command)} exited with {code}:\n{said[-3000:]}")
        return said

    def end(self) -> None:
        """End what was started in the background."""
        for group in self._groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)


def free_ports() -> list[str]:
    """As many ports as the page names, the last two beside each other."""
    for first in range(20_000 + os.getpid() % 10_000, 60_000, 7):
        wanted = [first, first + 1, first + 2]
        if all(map(_is_free, [*wanted, first + 3])):  # the fourth is the local cloud's TLS port
            return [str(port) for port in wanted]
    raise RuntimeError("There are no four free ports in a row.")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _is_ours(name: str) -> bool:
    return name.startswith(("ML_PLATFORM", "DJANGO", "PYTEST", "HOST_"))
