"""An audit as text for a terminal, and as JSON. Both are written row by row."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, islice
from typing import IO, Any

from django.core.management.base import OutputWrapper
from django.db.models import Model, QuerySet
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml_platform.models import Finding, Sweep, snapshot
from ml_platform.services.findings.kinds import facts_of, kind_of
from ml_platform.services.sweeps import audit
from ml_platform.services.sweeps.audit import AuditVerdict, Existence, OurRow, VertexRow
from ml_platform.text import counted

_dump = json.JSONEncoder(ensure_ascii=False).encode
PLAIN_WIDTH = 140
IN_MEMORY = 1 << 16
"""Characters of an audit that are kept in memory; more go through a temporary file."""
SHOWN = 100
"""Rows of a table on a terminal. In a longer table, rows that agree are only counted."""
SAMPLE = 10
"""Rows that are shown of a longer table in which all rows agree."""

PLANES = {
    "rows": ("Table rows", "all names in our table, registered or not"),
    "registered": ("Registered", "names with at least one version"),
    "vertex": ("Vertex AI", "models that the Model Registry lists"),
    "gcs": ("Cloud Storage", "run folders that hold a saved model"),
    "cloud_run": ("Cloud Run", "services that Cloud Run lists"),
    "scheduler": ("Cloud Scheduler", "jobs that Cloud Scheduler lists"),
    "vertex_endpoints": ("Vertex AI endpoints", "endpoints that Vertex AI lists"),
    "endpoints": ("Endpoints", "active endpoints in our table"),
    "serving": ("Serving", "of them, those that serve registered, verified versions only"),
}
EXISTS = {
    Existence.YES: "Yes",
    Existence.UNKNOWN: "Unknown",
    Existence.NEVER_REGISTERED: "Never registered",
    Existence.NO_VERSION: "No version left",
}
VERDICTS = {
    AuditVerdict.AGREE: "[green]The planes agree{compared}.[/]",
    AuditVerdict.DIFFER: "[red]The planes differ.[/]",
    AuditVerdict.UNKNOWN: (
        "[yellow]Unknown: {unread} could not be read, so nothing is reported as missing.[/]"
    ),
}
EXIT_CODES = {AuditVerdict.AGREE: 0, AuditVerdict.DIFFER: 1, AuditVerdict.UNKNOWN: 2}


@contextmanager
def one_snapshot(out: OutputWrapper) -> Iterator[IO[str]]:
    """Yield a file to write in while all is read in one snapshot; then copy it to `out`.

    A reader of `out` that waits, such as a pager, does not keep the transaction open.
    """
    with tempfile.SpooledTemporaryFile(IN_MEMORY, "w+", encoding="utf-8", newline="") as spool:
        with snapshot():
            yield spool
        spool.seek(0)
        while piece := spool.read(IN_MEMORY):
            out.write(piece, ending="")


def make_console(out: OutputWrapper, spool: IO[str] | None = None) -> Console:
    """Return a console with colors on a terminal, and with plain, wide text elsewhere.

    It writes to `spool`, if there is one, as if that was `out`. From then on `out` adds no line
    ends, because rich writes its own.
    """
    out.ending = ""
    stream: Any = out if spool is None else spool
    terminal = out.isatty()
    width = None if terminal else PLAIN_WIDTH
    return Console(file=stream, highlight=False, width=width, force_terminal=terminal or None)


def print_audit(console: Console, sweep: Sweep, project: Model | None) -> None:
    """Print the counts by plane, the two tables, the findings, and the verdict."""
    print_counts(console, sweep, project)
    _print_vertex(console, sweep, project)
    _print_ours(console, sweep, project)
    print_findings(console, sweep, audit.findings(project=project))
    print_verdict(console, sweep, project)


def print_counts(console: Console, sweep: Sweep, project: Model | None) -> None:
    """Print the count of each plane, or why it could not be read."""
    table = Table(
        "Plane", "Count", "What is counted", title="Counts by plane", title_justify="left"
    )
    table.columns[1].justify = "right"
    for name, number in audit.counts(sweep, project=project).items():
        words = (
            PLANES[name][1] if number is not None else sweep.planes.get(name, {}).get("reason", "")
        )
        table.add_row(PLANES[name][0], "?" if number is None else f"{number:,}", escape(words))
    console.print(table)


def print_verdict(console: Console, sweep: Sweep, project: Model | None) -> None:
    """Print the rows that were left out, and the verdict in one sentence."""
    held, left_out = _left_out(sweep, project).values()
    if held:
        console.print(f"{counted(held, 'row')} left out:")
    for row in left_out:
        console.print(f"     {escape(row['what'])}: {row['why']}")
    unread = " and ".join(PLANES[name][0] for name in audit.unread(sweep))
    verdict = VERDICTS[audit.compare_sweep(sweep, project=project)]
    console.print(verdict.format(unread=unread, compared=" in what was compared" if held else ""))


def _left_out(sweep: Sweep, project: Model | None) -> dict[str, Any]:
    if project is not None:
        return audit.left_out_of(sweep, projects=[project.pk])
    return {name: sweep.counts[name] for name in ("held", "left_out")}


def _print_vertex(console: Console, sweep: Sweep, project: Model | None) -> None:
    unread = "" if sweep.planes["vertex"]["read"] else ", as last seen (it could not be read now)"
    table = Table("Model", "ID", "Versions", "Artifact bucket", "Verdict")
    table.title = f"Vertex AI Model Registry{unread}"
    _fill(console, table, audit.vertex_rows(sweep, project=project), _vertex_cells)


def _vertex_cells(row: VertexRow) -> Sequence[str]:
    words = {
        "registered": f"Ours: {row.lineage}",
        "in_progress": "In progress",
        "another_installation": "Another installation's",
    }
    verdict = words.get(row.verdict) or f"[red]{kind_of(row.verdict).facts.label}[/]"
    return (escape(row.model), row.id, f"v{row.version}", escape(row.bucket), verdict)


def _print_ours(console: Console, sweep: Sweep, project: Model | None) -> None:
    table = Table("ID", "Project", "Name", "Resource name", "Exists in Vertex AI?", "Serving")
    table.title = "Our records"
    _fill(console, table, audit.our_rows(sweep, project=project), _our_cells)


def _our_cells(row: OurRow) -> Sequence[str]:
    exists = EXISTS.get(row.exists, f"[red]Not listed, {counted(row.looks, 'look')}[/]")
    # Only the id differs between names, and the terminal would cut it off.
    model_id = row.resource_name.rpartition("/")[2]
    name = f"projects/…/models/{model_id}" if model_id else "(empty)"
    return (str(row.id), escape(row.project), escape(row.name), escape(name), exists, row.serving)


def _fill(console: Console, table: Table, rows: Iterable[Any], cells: Any) -> None:
    """Print the first rows, or, of many, those that do not agree. Keeps only the rows it shows."""
    rows = iter(rows)
    shown, total = list(islice(rows, SHOWN)), 0
    if (following := next(rows, None)) is not None:
        total = len(shown)
        differing = [row for row in shown if not row.agrees]
        for row in chain([following], rows):
            total += 1
            if not row.agrees and len(differing) < SHOWN:
                differing.append(row)
        shown = differing or shown[:SAMPLE]
    for row in shown:
        table.add_row(*cells(row))
    table.title_justify = "left"
    console.print(table)
    _print_rest(console, total - len(shown))


def _print_rest(console: Console, left: int) -> None:
    if left > 0:
        console.print(f"… and {left:,} more; --format json lists them all.")


def print_findings(console: Console, sweep: Sweep, findings: QuerySet[Finding]) -> None:
    """Print each finding with its evidence and its safe repair.

    Findings on a plane that could not be read are listed apart, as last known, without a repair.
    """
    old = audit.unread_kinds(sweep)
    _print_findings(console, sweep, "Findings", findings.exclude(kind__in=old))
    last_known = findings.filter(kind__in=old)
    _print_findings(console, sweep, "Not checked now; last known", last_known, is_old=True)
    if not findings.exists():
        console.print("No findings.")


def _print_findings(
    console: Console, sweep: Sweep, heading: str, rows: QuerySet[Finding], *, is_old: bool = False
) -> None:
    number = 0
    for number, finding in enumerate(rows.iterator(), 1):
        if number == 1:
            console.print(f"[bold]{heading}[/]")
        if number <= SHOWN:
            _print_finding(console, sweep, number, finding)
            if not is_old:
                console.print(f"     Safe repair: {escape(finding.repair)}")
    _print_rest(console, number - SHOWN)


def _print_finding(console: Console, sweep: Sweep, number: int, finding: Finding) -> None:
    state = "" if finding.status == "open" else f", {finding.get_status_display().lower()}"
    if not _seen_by(sweep, finding):
        state += f", not checked now, last seen {finding.last_seen_at:%Y-%m-%d %H:%M} UTC"
    looks = counted(finding.consecutive_sightings, "look")
    console.print(f"{number}. [bold]{facts_of(finding).label}[/] ({looks}{state}): ", end="")
    console.print(escape(finding.title))
    for key, value in finding.evidence.items():
        console.print(f"     {key.replace('_', ' ')}: {escape(str(value) or '(none)')}")


def _seen_by(sweep: Sweep, finding: Finding) -> bool:
    """Whether this sweep saw it. A sweep that could not read the plane leaves it unchanged."""
    return finding.last_seen_at > sweep.started_at


# ---- JSON --------------------------------------------------------------------------------------


def json_audit(sweep: Sweep, project: Model | None) -> Iterator[str]:
    """Yield the audit as one JSON object, in pieces, so that no row stays in memory."""
    verdict = audit.compare_sweep(sweep, project=project)
    head: dict[str, Any] = {
        "verdict": verdict.value,
        "exit_code": EXIT_CODES[verdict],
        "project": str(project) if project is not None else None,
        "sweep": {
            "id": sweep.pk,
            "status": sweep.status,
            "started_at": sweep.started_at.isoformat(),
            "finished_at": sweep.finished_at.isoformat() if sweep.finished_at else None,
            **_left_out(sweep, project),
        },
        "planes": {
            name: {key: plane[key] for key in ("read", "reason", "code")}
            for name, plane in sweep.planes.items()
        },
        "counts": audit.counts(sweep, project=project),
    }
    yield "{\n"
    for key, value in head.items():
        yield f"{_dump(key)}: {_dump(value)},\n"
    yield from _array("vertex", (asdict(row) for row in audit.vertex_rows(sweep, project=project)))
    yield ",\n"
    yield from _array("records", (asdict(row) for row in audit.our_rows(sweep, project=project)))
    yield ",\n"
    rows = audit.findings(project=project).iterator()
    yield from _array("findings", (finding_object(sweep, finding) for finding in rows))
    yield "\n}\n"


def finding_object(sweep: Sweep, finding: Finding) -> dict[str, Any]:
    """Return a finding for the JSON; `seen_now` is false when this sweep could not compare it."""
    return {
        "id": finding.pk,
        "kind": finding.kind,
        "status": finding.status,
        "subject": finding.subject,
        "title": finding.title,
        "project": str(finding.project) if finding.project else None,
        "looks": finding.consecutive_sightings,
        "seen_now": _seen_by(sweep, finding),
        "first_seen_at": finding.first_seen_at.isoformat(),
        "last_seen_at": finding.last_seen_at.isoformat(),
        "evidence": finding.evidence,
        "repair": finding.repair,
    }


def _array(name: str, rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    yield f"{_dump(name)}: ["
    for number, row in enumerate(rows):
        yield ("," if number else "") + "\n  " + _dump(row)
    yield "]"
