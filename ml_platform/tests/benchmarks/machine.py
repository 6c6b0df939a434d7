"""The machine of a measurement, as its tables name it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path


def described() -> str:
    """Cores, processor, memory, and how busy it is besides: the load of the last minute."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = os.cpu_count() or 1
    return (
        f"{cores} cores ({names[0] if names else 'unknown processor'}), {memory:.0f} GiB, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def today() -> str:
    now = datetime.now(UTC)
    return f"{now.day} {now:%B %Y}"
