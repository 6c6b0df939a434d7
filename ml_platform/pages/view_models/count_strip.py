"""The registry truth strip: the four counts and what serves, and whether they agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise

from django.urls import reverse

from ml_platform import kpis
from ml_platform.kpis import FourCounts, ServingCount, Sum, fresh_for
from ml_platform.kpis.totals import Projects
from ml_platform.models import EndpointTraffic
from ml_platform.pages.view_models.context import Values
from ml_platform.services.findings.comparisons.serving import serving_title
from ml_platform.services.findings.kinds import KINDS, FindingKind

from .badges import badge
from .context import Badge
from .serialize import in_words
from .times import moment

STALE, UNMANAGED = FindingKind.STALE_POINTER, FindingKind.UNMANAGED
NOT_SEEN_YET = ("{n} not seen there yet", "{n} not seen there yet")
PLANES = (
    ("database", "Database", "Registered models in our tables, as the Assets card counts them"),
    ("projects", "Projects", "Sum of the models on the project cards"),
    ("registry_page", "Registry page", "Rows of the Model Registry tables"),
    ("vertex", "Vertex AI", "Models that the newest sweep found in the Vertex AI Model Registry"),
)
SERVING = (
    "Active endpoints whose traffic all goes to registered versions that the last sweeps verified"
)
UNKNOWN = "?"
OLD = "The newest sweep is more than three audits old."


def read_truth(projects: Projects, findings: Mapping[str, int], now: datetime) -> Values:
    """Read the counts of these projects and compare them."""
    serving = kpis.serving_count(projects)
    requests = None
    if first := serving.first:
        name, project = first.endpoint.service_name, first.endpoint.project_id
        traffic = kpis.service_traffic([name], project_id=project, today=now.date())
        requests = traffic[name].requests if name in traffic else None
    return truth_strip(
        counts=kpis.four_counts(projects),
        serving=serving,
        requests=requests,
        findings=findings,
        now=now,
    )


def truth_strip(
    *,
    counts: FourCounts,
    serving: ServingCount,
    requests: Sum | None = None,
    findings: Mapping[str, int],
    now: datetime,
) -> Values:
    """Compare the counts. Equal counts prove nothing while a finding is open: errors may cancel.

    `requests` are those of the endpoint that `serving` names, None if they are unknown.
    """
    planes = _planes(counts, now)
    open_findings = sum(findings.values())
    verdict = _verdict(counts, serving, open_findings, old=_is_old(counts, now))
    return {
        "planes": planes,
        "serving": _serving(serving, requests, now),
        "verdict": verdict,
        "quiet": verdict.tone == "good",
        # How one count becomes the other: `8 - 1 points at nothing + 2 only in Vertex AI = 9`.
        "sum": _sum(counts),
        "agreed": f"{counts.database:,}",
        "notes": tuple(
            kind.facts.note[n > 1].format(n=f"{n:,}")
            for kind in KINDS
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


def _serving(serving: ServingCount, requests: Sum | None, now: datetime) -> Values:
    """The fifth box, and what makes it differ, with a link to that endpoint."""
    unknown = serving.verified is None
    count = serving.last if unknown else serving.verified
    tone = {True: "plain", False: "bad", None: "unknown"}[serving.whole]
    return {
        "count": f"{_shown(count)} of {serving.active:,}",
        "last": moment(serving.read_at, now) if unknown else None,
        "hint": SERVING,
        "tone": "unknown" if unknown and serving.whole is not False else tone,
        "say": _difference(serving, requests),
        "url": _endpoint_url(serving.first) if serving.first else "",
    }


def _difference(serving: ServingCount, requests: Sum | None) -> str:
    if row := serving.first:
        more = serving.unverified - 1
        others = f" · and {more:,} more" if more else ""
        return f"{serving_title(row.endpoint, row)} · {_in_requests(requests)}{others}"
    if serving.reason:
        return f"What serves is unknown: {serving.reason}" if serving.active else ""
    return f"{serving.unknown:,} not verified yet" if serving.unknown else ""


def _in_requests(requests: Sum | None) -> str:
    known = in_words(requests or Sum.over([None]))
    return f"{known} requests in 7 days" if requests else f"{known} of requests in 7 days"


def _endpoint_url(row: EndpointTraffic) -> str:
    training = reverse("ml_platform:training", args=[row.endpoint.project_id])
    return f"{training}#endpoint-{row.endpoint_id}"


def _verdict(counts: FourCounts, serving: ServingCount, open_findings: int, *, old: bool) -> Badge:
    if counts.agree is False:
        return badge("They differ", "bad")
    if serving.whole is False:
        return badge("Not all that serves is verified", "bad")
    if old:
        return badge("Not checked lately", "unknown", OLD)
    if counts.agree is None:
        return badge("Vertex AI is unknown", "unknown", counts.vertex_reason)
    if open_findings:
        return badge("Equal counts, open findings", "warn")
    if serving.whole is None:
        return badge("What serves is unknown", "unknown", serving.reason)
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
