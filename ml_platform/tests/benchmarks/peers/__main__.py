"""`python -m ml_platform.tests.benchmarks.peers`: MLflow's model registry beside ours.

It makes an environment with MLflow once, in the user's cache; then, for each database and size, it
puts the same models into both, starts both as servers with one worker, asks them in turn, and
prints tables of Markdown.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ml_platform.tests.benchmarks.documents import DOCS, write

from .chart import picture
from .results import Result
from .tables import NAMES, text

PICTURE = DOCS / "images" / "peers.svg"


def main(arguments: Sequence[str]) -> int:
    """Compare; 0 when everything was answered."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.benchmarks.peers")
    parser.add_argument("--db", choices=NAMES, help="default: both, one after the other")
    parser.add_argument("--models", default="10000,100000", help="sizes, with commas")
    parser.add_argument("--rounds", type=int, default=100, help="of each question")
    parser.add_argument(
        "--write", action="store_true", help="into docs/benchmarks.md, with the picture"
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="mlp-peers-") as directory:
        results = [
            _result(database, options.models, options.rounds, Path(directory, database))
            for database in ([options.db] if options.db else NAMES)
        ]
    tables = text(results)
    print(tables)
    if options.write:
        write("peers", tables)
        PICTURE.write_text(picture([run for result in results for run in result.runs]))
    return 0


def _result(database: str, sizes: str, rounds: int, file: Path) -> Result:
    """A process for each database, because Django has one."""
    module = f"{__package__}.one_database"
    command = [sys.executable, "-m", module, database, sizes, str(rounds), str(file)]
    subprocess.run(command, check=True)
    return Result.from_json(file.read_text())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
