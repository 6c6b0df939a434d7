"""The registry truth strip: the four counts, and whether they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise

from ml_platform.kpis import FourCounts
from ml_platform.pages.view_models.context import Values
from ml_platform.services.findings.kinds import FindingKind

from .badges import badge
from .context import Badge
from .times import moment

PLANES = (
    ("database", "Database", "Registered models in our tables, as the Assets card counts them"),
    ("projects", "Projects", "Sum of the models on the project cards"),
    ("registry_page", "Registry page", "Rows of the Model Registry tables"),
    ("vertex", "Vertex AI", "Models that the newest sweep found in the Vertex AI Model Registry"),
)
UNKNOWN = "?"


def truth_strip(*, counts: FourCounts, findings: Mapping[str, int], now: datetime) -> Values:
    """Compare the counts. Equal counts prove nothing while a finding is open: errors may cancel."""
    planes = _planes(counts)
    open_findings = sum(findings.values())
    return {
        "planes": planes,
        "verdict": _verdict(counts, open_findings),
        "quiet": counts.agree is True and not open_findings,
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


def _verdict(counts: FourCounts, open_findings: int) -> Badge:
    if counts.agree is False:
        return badge("They differ", "bad")
    if counts.agree is None:
        return badge("Vertex AI is unknown", "unknown", counts.vertex_reason)
    if open_findings:
        return badge("Equal counts, open findings", "warn")
    return badge("They agree", "good")


def _planes(counts: FourCounts) -> list[Values]:
    """Each count, compared with the one before it; those that differ from most are marked."""
    values: list[int | None] = [getattr(counts, name) for name, _, _ in PLANES]
    known = Counter(value for value in values if value is not None)
    common = max(known, key=lambda value: (known[value], value == counts.database))
    signs = [("", ""), *(_sign(before, value) for before, value in pairwise(values))]
    return [
        {
            "name": label,
            "count": UNKNOWN if value is None else f"{value:,}",
            "hint": hint,
            "tone": "unknown" if value is None else "plain" if value == common else "bad",
            "sign": sign,
            "sign_words": words,
        }
        for (_, label, hint), value, (sign, words) in zip(PLANES, values, signs, strict=True)
    ]


def _sign(before: int | None, value: int | None) -> tuple[str, str]:
    if before is None or value is None:
        return UNKNOWN, "compared with an unknown number"
    return ("=", "equals") if before == value else ("≠", "differs from")
