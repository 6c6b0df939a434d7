"""The fifth count: how many active endpoints serve registered, verified versions only."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from ml_platform.models import DeployedEndpoint, EndpointTraffic, Sweep, snapshot
from ml_platform.models.endpoints.serving_truth import (
    PLANES,
    UNVERIFIED,
    ServingTruth,
    counted_serving,
    with_served_version,
)
from ml_platform.models.prepared import Prepared

from .totals import Projects, of_projects, vertex_reading


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCount:
    """The active endpoints, and how many of them have all their traffic on versions that are
    registered, verified lately and unchanged."""

    active: int
    verified: int | None
    """None when the newest sweep could not read one of the planes that decide it."""
    last: int | None
    """What the last readings say; None when there were none."""
    unverified: int = 0
    """Those that serve something else, as far as it is known."""
    reason: str = ""
    """Why `verified` is None."""
    read_at: datetime | None = None
    """When all of these planes were last read."""
    first: EndpointTraffic | None = None
    """One of the revisions that are served and not verified, with its endpoint, run and `served`;
    it gets most of its endpoint's traffic."""

    @property
    def unknown(self) -> int:
        """Active endpoints of which it is not known what they serve, or whether it is verified."""
        return self.active - (self.verified or 0) - self.unverified

    @property
    def whole(self) -> bool | None:
        """Whether all of them do; None when that is unknown."""
        if self.unverified:
            return False
        return None if self.verified is None or self.unknown else True


def serving_count(projects: Projects = None) -> ServingCount:
    """Return the count of these projects."""
    with snapshot():
        reading = vertex_reading()
        counts = Counter({each.value: 0 for each in ServingTruth})
        for row in _counted(projects=projects):
            counts[row["serving_truth"]] += row["n"]
        verified, unverified = counts[ServingTruth.VERIFIED], counts[ServingTruth.UNVERIFIED]
        reason = reading.serving_unread
        return ServingCount(
            active=sum(counts.values()),
            verified=None if reason else verified,
            last=verified if reading.swept_at else None,
            unverified=unverified,
            reason=reason,
            read_at=_last_read() if reason else reading.swept_at,
            first=next(iter(_unverified(projects=projects)), None) if unverified else None,
        )


@Prepared
def _counted(*, projects: Any) -> QuerySet[Any, dict[str, Any]]:
    return counted_serving(of_projects(DeployedEndpoint.objects.all(), projects))


def _last_read() -> datetime | None:
    return next(iter(_reads()), None)


@Prepared
def _reads() -> QuerySet[Sweep, Any]:
    read = Sweep.objects.finished().filter(**{f"planes__{plane}__read": True for plane in PLANES})
    return read.values_list("finished_at", flat=True)[:1]


@Prepared
def _unverified(*, projects: Any) -> QuerySet[EndpointTraffic]:
    endpoints = of_projects(DeployedEndpoint.objects.all(), projects)
    rows = EndpointTraffic.objects.filter(endpoint__in=endpoints, endpoint__is_active=True)
    served = with_served_version(rows.select_related("endpoint", "run"))
    worst = served.filter(served__in=UNVERIFIED)
    return worst.order_by("endpoint__service_name", "-percent", "pk")[:1]
