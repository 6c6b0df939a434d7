"""The tables of a result, as docs/benchmarks.md shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ml_platform.tests.benchmarks.documents import table

from .results import Result, Row, Run

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
HEAD = ("", "MLflow", "ours", "ratio", "bare view", "ratio", "static")


def text(results: Sequence[Result]) -> str:
    """What was measured, when and on what."""
    versions = list(dict.fromkeys(one for result in results for one in result.versions))
    said = [
        f"{results[0].when}; {results[0].machine}; {', '.join(versions)}.",
        *(part for result in results for run in result.runs for part in _questions(run)),
        "Start and memory:",
        table(
            ("", "MLflow", "ours"),
            [row for result in results for run in result.runs for row in _costs(run)],
        ),
    ]
    return "\n\n".join(said)


def _questions(run: Run) -> tuple[str, str]:
    title = f"{NAMES[run.database]}, {run.models:,} models, medians in milliseconds:"
    return title, table(HEAD, map(_line, run.rows))


def _line(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        milliseconds(row.theirs),
        milliseconds(row.ours),
        f"**{times(row.times_as_fast)}**",
        "" if row.statements is None else milliseconds(row.statements),
        "" if row.beside_statements is None else times(row.beside_statements),
        "" if row.static is None else milliseconds(row.static),
    )


def _costs(run: Run) -> Iterator[tuple[str, str, str]]:
    where = f"{NAMES[run.database]}, {run.models:,} models"
    pairs = {"until the first page": (run.start, "{:.1f} s")}
    pairs["memory after it"] = (run.idle, "{:.0f} MiB")
    pairs["memory after all questions"] = (run.used, "{:.0f} MiB")
    for name, (values, form) in pairs.items():
        theirs, ours = map(form.format, values)
        yield f"{where}: {name}", theirs, ours


def milliseconds(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def times(ratio: float) -> str:
    return f"{ratio:.1f}x" if ratio < 100 else f"{ratio:,.0f}x"
