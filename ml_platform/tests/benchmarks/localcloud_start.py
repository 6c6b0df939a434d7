"""What the local cloud costs to start: seconds until it answers, and its memory while empty.

`python -m ml_platform.tests.benchmarks.localcloud_start [rounds]`. The same is measured of
a process that only imports the two heaviest of Google's packages on which it depends.
"""

from __future__ import annotations

import subprocess
import sys
import time
from statistics import median

PROGRAM = ("-m", "ml_platform.localcloud", "--port", "0", "--http-port", "0", "--tls-port", "0")
IMPORTS = (
    "-c",
    "import google.cloud.aiplatform_v1.types, google.cloud.run_v2.types\n"
    "print(1, flush=True)\ninput()",
)


def main(rounds: int) -> None:
    """Print both."""
    for name, arguments in (("local cloud", PROGRAM), ("its imports", IMPORTS)):
        costs = [start(arguments) for _ in range(rounds)]
        seconds, memory = (median(side) for side in zip(*costs, strict=True))
        print(f"{name}: {seconds:.2f} s, {memory:.0f} MiB")


def start(arguments: tuple[str, ...]) -> tuple[float, float]:
    """Seconds until the first line of output, and MiB of memory then."""
    begun = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - begun
        with open(f"/proc/{process.pid}/status") as status:  # noqa: PTH123 - not a file of a disk
            resident = next(line for line in status if line.startswith("VmRSS"))
        process.terminate()
        process.stdout.read()
    return seconds, int(resident.split()[1]) / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
