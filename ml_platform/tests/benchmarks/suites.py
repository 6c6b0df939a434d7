"""Which benchmarks there are, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .ground import fill, open_database, vendor
from .html import html_pages
from .numbers import dashboard_numbers
from .orphaned import orphan_cleanup
from .pages import Site, list_pages
from .pairs import Figure
from .starts import start_costs
from .sweeps import sweeps

FILLED = ("list", "html", "numbers")


def figures(database: str, sizes: Sequence[int], only: Sequence[str]) -> Iterator[Figure]:
    """Each figure as soon as it is known."""
    if "start" in only:
        yield from start_costs()
    if "sweep" in only:
        yield from sweeps(database)
    if set(only) & set(FILLED):
        for size in sizes:
            open_database(f"{database}-{size}")
            print(f"{size:,} models in {fill(size):.0f} s, {vendor()}", flush=True)
    site = Site()
    parts: dict[str, Callable[[], Iterator[Figure]]] = {
        "numbers": lambda: dashboard_numbers(sizes, database),
        "list": lambda: list_pages(site, sizes, database),
        "html": lambda: html_pages(site, sizes, database),
        "orphans": lambda: orphan_cleanup(sizes, database),
    }
    for name, part in parts.items():
        if name in only:
            yield from part()
