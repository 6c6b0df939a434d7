"""The registry truth strip: the four counts, and whether they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from ml_platform.kpis import FourCounts
from ml_platform.services.findings.kinds import FindingKind

from .badges import badge
from .context import Badge, Plane, Truth
from .times import moment

PLANES = (
    ("database", "Database", "Registered models in our tables, as the Assets card counts them"),
    ("projects", "Projects", "Sum of the models on the project cards"),
    ("registry_page", "Registry page", "Rows of the Model Registry tables"),
    ("vertex", "Vertex AI", "Models that the newest sweep found in the Vertex AI Model Registry"),
)
UNKNOWN = "?"


def truth_strip(*, counts: FourCounts, findings: Mapping[str, int], now: datetime) -> Truth:
    """Compare the counts. Equal counts prove nothing while a finding is open: errors may cancel."""
    planes = _planes(counts)
    open_findings = sum(findings.values())
    return Truth(
        planes=planes,
        verdict=_verdict(counts, open_findings),
        quiet=counts.agree is True and not open_findings,
        agreed=f"{counts.database:,}",
        notes=tuple(
            kind.facts.note[n > 1].format(n=f"{n:,}")
            for kind in FindingKind
            if (n := findings.get(kind, 0))
        ),
        unknown=counts.vertex_reason,
        findings_open=open_findings,
        swept=moment(counts.swept_at, now),
        vertex_read=moment(counts.vertex_read_at, now),
    )


def _verdict(counts: FourCounts, open_findings: int) -> Badge:
    if counts.agree is False:
        return badge("They differ", "bad")
    if counts.agree is None:
        return badge("Vertex AI is unknown", "unknown", counts.vertex_reason)
    if open_findings:
        return badge("Equal counts, open findings", "warn")
    return badge("They agree", "good")


def _planes(counts: FourCounts) -> tuple[Plane, ...]:
    values: dict[str, int | None] = {name: getattr(counts, name) for name, _, _ in PLANES}
    known = Counter(value for value in values.values() if value is not None)
    common = max(known, key=lambda value: (known[value], value == counts.database))
    planes: list[Plane] = []
    before: int | None = None
    for name, label, hint in PLANES:
        value = values[name]
        sign, words = _sign(before, value) if planes else ("", "")
        planes.append(
            Plane(
                name=label,
                count=UNKNOWN if value is None else f"{value:,}",
                hint=hint,
                tone=_tone(value, common),
                sign=sign,
                sign_words=words,
            )
        )
        before = value
    return tuple(planes)


def _tone(value: int | None, common: int) -> str:
    if value is None:
        return "unknown"
    return "plain" if value == common else "bad"


def _sign(before: int | None, value: int | None) -> tuple[str, str]:
    if before is None or value is None:
        return UNKNOWN, "compared with an unknown number"
    return ("=", "equals") if before == value else ("≠", "differs from")
