"""Runs the tests of each defect in a copy of the source tree that has this one defect."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from queue import SimpleQueue

from .defect import Defect

ROOT = Path(__file__).parents[3]
PACKAGE = "ml_platform"
COPIED = (PACKAGE, "templates", "static", "docs", "manage.py", "pytest.ini", "pyproject.toml",
          "README.md", "CHANGELOG.md", "requirements.txt")  # fmt: skip
"""What the tests read of the source tree."""
LONGEST = 240.0
"""Seconds for the tests of one defect; one that takes longer has made something hang."""
CAUGHT, LIVED, HUNG, BROKEN = "caught", "LIVED", "hung", "BROKEN"
_VERDICTS = {0: LIVED, 1: CAUGHT}
"""By pytest's exit code. Any other says that the tests did not run, which proves nothing."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one defect."""

    defect: Defect
    result: str
    seconds: float
    output: str

    @property
    def is_caught(self) -> bool:
        """Whether a test noticed it: by failing, or by not coming to an end."""
        return self.result in (CAUGHT, HUNG)

    @property
    def noticed_by(self) -> str:
        """The test that failed, '' when none did."""
        failed = re.search(rf"^FAILED {PACKAGE}/tests/(\S+)", self.output, re.MULTILINE)
        return failed[1] if failed else ""


class Copies:
    """Copies of the source tree, one for each worker."""

    def __init__(self, directory: Path, workers: int) -> None:
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(workers):
            tree = directory / str(number)
            for name in COPIED:
                _copy(ROOT / name, tree / name)
            self._free.put(tree)

    @contextmanager
    def one(self) -> Iterator[Path]:
        """A copy that nobody else uses meanwhile."""
        tree = self._free.get()
        try:
            yield tree
        finally:
            self._free.put(tree)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("node_modules", "*.sqlite3"))
    elif source.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def run_all(
    defects: Sequence[Defect], *, workers: int, tell: Callable[[Verdict], None]
) -> list[Verdict]:
    """Try all of them, in copies that are gone afterwards; `tell` hears of each as it ends."""
    with tempfile.TemporaryDirectory(prefix="mlp-mutants-") as directory:
        copies = Copies(Path(directory), min(workers, len(defects)) or 1)

        def attempt(defect: Defect) -> Verdict:
            with copies.one() as tree:
                verdict = try_defect(defect, tree)
            tell(verdict)
            return verdict

        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(attempt, defects))


def try_defect(defect: Defect, tree: Path) -> Verdict:
    """Run the defect's tests in the tree with the defect put in, which is taken out again."""
    started = time.monotonic()
    file = tree / PACKAGE / defect.path
    shutil.copy2(file, file.with_suffix(".orig"))
    try:
        file.write_text(defect.applied_to(file.read_text()))
        _set_new_time(file)
        result, output = run_tests(defect.tests, tree)
    finally:
        file.with_suffix(".orig").replace(file)
    return Verdict(defect, result, time.monotonic() - started, output)


_times = count(1)


def _set_new_time(file: Path) -> None:
    """Compiled files are found by the second and the size: none may stand for two defects."""
    moment = 1_000_000_000 + next(_times)
    os.utime(file, (moment, moment))


def run_tests(tests: Sequence[str], tree: Path) -> tuple[str, str]:
    """Run tests until the first failure: what that says of the tree, and what pytest wrote."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ML_PLATFORM_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-x", "-q", "--no-header",
         *(f"{PACKAGE}/tests/{test}" for test in tests)],
        cwd=tree,
        env={**environment, "ML_PLATFORM_TEST_DB": "sqlite", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return HUNG, output
    return _VERDICTS.get(process.returncode, BROKEN), output
