"""SQLite's test database as the migrations make it, kept from one run to the next.

The migrations take four seconds of each process that runs tests, a copy of their result none.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import IO

import django
from django.apps import apps
from django.db import connection


class Template:
    """A file in a folder, named by what it was made from: a change of that makes another one.

    The first process that finds none makes it, and those beside it wait.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / f"{_made_from()}.db"
        self._lock: IO[str] | None = None

    def copy(self) -> bool:
        """Have the test database be a copy; False when it must be made, and `keep` called."""
        self._lock = (self._folder / "lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if not self._file.exists():
            return False
        self._lock.close()
        wanted = connection.settings_dict["TEST"]
        wanted["MIGRATE"] = False
        shutil.copyfile(self._file, wanted["NAME"])
        return True

    def keep(self) -> None:
        """Keep the database that was made, and no older one."""
        if self._lock is None or self._lock.closed:
            return
        for old in self._folder.glob("*.db"):
            old.unlink()
        written = self._file.with_suffix(".new")
        source = connection.settings_dict["NAME"]
        with closing(sqlite3.connect(source)) as made, closing(sqlite3.connect(written)) as copy:
            made.backup(copy)
        written.replace(self._file)
        self._lock.close()


def _made_from() -> str:
    """A digest of all that decides what is in the database before the first test."""
    versions = f"{sys.version} {sqlite3.sqlite_version} {django.VERSION}"
    digest = hashlib.sha256(versions.encode())
    for app in apps.get_app_configs():
        for pattern in ("migrations/*.py", "models.py", "models/**/*.py"):
            for file in sorted(Path(app.path).glob(pattern)):
                digest.update(f"{app.label} {file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()
