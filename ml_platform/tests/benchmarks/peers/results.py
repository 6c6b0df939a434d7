"""What was measured, as it goes from a database's process to the one that writes the tables."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Row:
    """A question: medians in milliseconds, and the medians of the ratios of each round."""

    name: str
    theirs: float
    ours: float
    statements: float | None
    """Our list's statements by a bare view; None for what is not our list."""
    static: float | None
    times_as_fast: float
    beside_statements: float | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """Everything at one size in one database; each pair is MLflow's and ours."""

    database: str
    models: int
    rows: list[Row]
    start: tuple[float, float]
    """Seconds until the first page."""
    idle: tuple[float, float]
    """MiB after the first page."""
    used: tuple[float, float]
    """MiB after all questions."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """All runs, and what they ran on."""

    when: str
    machine: str
    versions: list[str]
    runs: list[Run]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        read = json.loads(text)
        runs = [Run(**run | {"rows": [Row(**row) for row in run["rows"]]}) for run in read["runs"]]
        return cls(**read | {"runs": runs})
