"""The registry truth strip: the four counts, and whether they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise

from ml_platform.kpis import FourCounts, fresh_for
from ml_platform.pages.view_models.context import Values
from ml_platform.services.findings.kinds import FindingKind

from .badges import badge
from .context import Badge
from .times import moment

STALE, UNMANAGED = FindingKind.STALE_POINTER, FindingKind.UNMANAGED
NOT_SEEN_YET = ("{n} not seen there yet", "{n} not seen there yet")
PLANES = (
    ("database", "Database", "Registered models in our tables, as the Assets card counts them"),
    ("projects", "Projects", "Sum of the models on the project cards"),
    ("registry_page", "Registry page", "Rows of the Model Registry tables"),
    ("vertex", "Vertex AI", "Models that the newest sweep found in the Vertex AI Model Registry"),
)
UNKNOWN = "?"
OLD = "The newest sweep is more than three audits old."


def truth_strip(*, counts: FourCounts, findings: Mapping[str, int], now: datetime) -> Values:
    """Compare the counts. Equal counts prove nothing while a finding is open: errors may cancel."""
    planes = _planes(counts, now)
    open_findings = sum(findings.values())
    return {
        "planes": planes,
        "verdict": _verdict(counts, open_findings, old=_is_old(counts, now)),
        "quiet": counts.agree is True and not open_findings and not _is_old(counts, now),
        # How one count becomes the other: `8 - 1 points at nothing + 2 only in Vertex AI = 9`.
        "sum": _sum(counts),
        "agreed": f"{counts.database:,}",
        "notes": tuple(
            kind.facts.note[n > 1].format(n=f"{n:,}")
            for kind in FindingKind
            if (n := findings.get(kind, 0))
        ),
        "unknown": counts.vertex_reason,
        "findings_open": open_findings,
        "swept": moment(counts.swept_at, now),
        "vertex_read": moment(counts.vertex_read_at, now),
    }


def _is_old(counts: FourCounts, now: datetime) -> bool:
    return counts.swept_at is not None and counts.swept_at < now - fresh_for()


def _sum(counts: FourCounts) -> str:
    """How the count of our tables becomes that of Vertex AI; '' where they are the same models."""
    terms = (
        ("−", counts.points_at_nothing, STALE.facts.note),  # noqa: RUF001 - a minus sign
        ("−", counts.not_seen_yet, NOT_SEEN_YET),  # noqa: RUF001 - a minus sign
        ("+", counts.only_in_vertex or 0, UNMANAGED.facts.note),
    )
    told = [f"{sign} {words[n > 1].format(n=f'{n:,}')}" for sign, n, words in terms if n]
    if counts.vertex is None or not told:
        return ""
    return f"{counts.database:,} {' '.join(told)} = {counts.vertex:,}"


def _verdict(counts: FourCounts, open_findings: int, *, old: bool) -> Badge:
    if counts.agree is False:
        return badge("They differ", "bad")
    if old:
        return badge("Not checked lately", "unknown", OLD)
    if counts.agree is None:
        return badge("Vertex AI is unknown", "unknown", counts.vertex_reason)
    if open_findings:
        return badge("Equal counts, open findings", "warn")
    return badge("They agree", "good")


def _planes(counts: FourCounts, now: datetime) -> list[Values]:
    """Each count, compared with the one before it; those that differ from most are marked."""
    values: list[int | None] = [getattr(counts, name) for name, _, _ in PLANES]
    known = Counter(value for value in values if value is not None)
    common = max(known, key=lambda value: (known[value], value == counts.database))
    signs = [("", ""), *(_sign(before, value) for before, value in pairwise(values))]
    return [
        {
            "name": label,
            "count": _shown(counts.vertex_last if value is None else value),
            # An unknown number keeps its last value, with its age.
            "last": moment(counts.vertex_read_at, now) if value is None else None,
            "hint": hint,
            "tone": "unknown" if value is None else "plain" if value == common else "bad",
            "sign": sign,
            "sign_words": words,
        }
        for (_, label, hint), value, (sign, words) in zip(PLANES, values, signs, strict=True)
    ]


def _shown(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _sign(before: int | None, value: int | None) -> tuple[str, str]:
    if before is None or value is None:
        return UNKNOWN, "compared with an unknown number"
    return ("=", "equals") if before == value else ("≠", "differs from")
