"""The soak: web server, workers, commands, clients of two tenants and a person behind us, as real
processes on PostgreSQL, with kills, stops, restarts of the database and faults of Google.

`python -m ml_platform.tests.stateful.soak --minutes 15 --seed 0`; 0 when nothing was wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from ml_platform.tests.stateful.ground import standing

from .defects import DEFECTS


def main(arguments: Sequence[str]) -> int:
    """Soak; 0 when nothing was wrong, else 1."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.stateful.soak")
    parser.add_argument("--minutes", type=float, default=15.0, help="of trouble, without the rest")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--defect", choices=sorted(DEFECTS), default="", help="seeded on purpose")
    asked = parser.parse_args(arguments)
    # pg_ctl is forked beside gRPC's threads. gRPC's handlers of a fork would start its own threads
    # again in the child, whose abort leaves the database stopped.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    with standing("postgresql") as cloud:
        from .course import soak
        from .report import table

        record = soak(cloud, asked.minutes * 60, asked.seed, asked.defect)
        print(table(record), flush=True)
    return 1 if record.errors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
