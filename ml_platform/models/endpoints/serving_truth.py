"""Serving truth: whether all that an active endpoint serves is registered, verified and unchanged.

This is the only definition; the count, the badges, the finding, the API and the audit use it. It
tells what the last complete readings said: their readers say so where a plane is unread now.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db.models import (
    Case,
    CharField,
    Count,
    Exists,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextChoices,
    Value,
    When,
)
from django.db.models.functions import Now

from ml_platform.conf import get_settings
from ml_platform.models.registry.manifest import DIFFERING, FilesState
from ml_platform.models.states import (
    HOLDS_POINTER,
    STANDING_FINDING_STATUSES,
    Registration,
    RegistryState,
)
from ml_platform.models.sweeps.finding import VERSION_MISSING, Finding
from ml_platform.models.sweeps.sweep import Sweep

from .deployed_endpoint import DeployedEndpoint
from .endpoint_traffic import EndpointTraffic

PLANES = ("cloud_run", "vertex", "gcs")
"""The planes that decide it, in this order; what is not read of one is unknown."""


DATABASE_NOW = Now()


class ServedVersion(TextChoices):
    """What a revision serves; the label completes `serves ..., which`."""

    VERIFIED = "verified", "is verified"
    NOT_OURS = "not_ours", "is none of our versions"
    NOT_REGISTERED = "not_registered", "is not registered"
    LOST = "lost", "is not in Vertex AI any more"
    DELETED = "deleted", "was deleted"
    MISSING = "missing", "Vertex AI does not have"
    CHANGED = "changed", "has other files than its manifest"
    UNKNOWN = "unknown", "is not verified yet"


UNVERIFIED = tuple(
    each for each in ServedVersion if each not in (ServedVersion.VERIFIED, ServedVersion.UNKNOWN)
)


class ServingTruth(TextChoices):
    """What an active endpoint serves: verified versions only, something else, or it is unknown."""

    VERIFIED = "verified", "Verified"
    UNVERIFIED = "unverified", "Unverified"
    UNKNOWN = "unknown", "Unknown"


def fresh_for() -> timedelta:
    """Return for how long a verification describes the present: three intervals of the audit."""
    return 3 * timedelta(hours=get_settings().AUDIT_INTERVAL_HOURS)


def with_served_version(
    rows: QuerySet[Any, Any], *, now: datetime | Now = DATABASE_NOW
) -> QuerySet[Any, Any]:
    """Annotate rows of EndpointTraffic with `served`, a `ServedVersion`; the first that applies."""
    lineage = "run__registered_model__registry"
    in_registry = Q(**{f"{lineage}_state__in": [RegistryState.VERIFIED, RegistryState.CHANGED]})
    fresh = Q(**{f"{lineage}_checked_at__gte": now - fresh_for()})
    same_files = Q(run__manifest__state=FilesState.VERIFIED)
    registered = Q(run__registration__in=HOLDS_POINTER)
    unlisted = Finding.objects.filter(
        kind=VERSION_MISSING, run=OuterRef("run"), status__in=STANDING_FINDING_STATUSES
    )
    # Absence is believed only the second time (law 3); until then it is unknown.
    gone = Exists(unlisted.filter(consecutive_sightings__gt=1))
    conditions = {
        ServedVersion.UNKNOWN: ~Q(unread=""),
        ServedVersion.NOT_OURS: Q(run__isnull=True),
        ServedVersion.NOT_REGISTERED: Q(run__registration=Registration.NONE),
        ServedVersion.LOST: Q(run__registration=Registration.LOST),
        ServedVersion.DELETED: Q(run__registration=Registration.DELETED),
        ServedVersion.MISSING: Q(**{f"{lineage}_state": RegistryState.MISSING}) | gone,
        ServedVersion.CHANGED: Q(run__manifest__state__in=DIFFERING),
        ServedVersion.VERIFIED: registered & in_registry & fresh & same_files & ~Exists(unlisted),
    }
    cases = (When(condition, then=Value(each.value)) for each, condition in conditions.items())
    served = Case(*cases, default=Value(ServedVersion.UNKNOWN.value), output_field=CharField())
    annotated: QuerySet[Any, Any] = rows.annotate(served=served)
    return annotated


def with_serving_truth(
    endpoints: QuerySet[Any, Any], *, now: datetime | Now = DATABASE_NOW
) -> QuerySet[Any, Any]:
    """Annotate active endpoints with `serving_truth`.

    What was not seen since the last complete reading of Cloud Run began is unknown: the service may
    be gone, or serve something else by now.
    """
    rows = with_served_version(EndpointTraffic.objects.filter(endpoint=OuterRef("pk")), now=now)
    read = Sweep.objects.finished().filter(planes__cloud_run__read=True)
    seen = rows.filter(seen_at__gte=Subquery(read.values("started_at")[:1]))
    whole = Exists(seen) & ~Exists(rows.exclude(served=ServedVersion.VERIFIED))
    truth = Case(
        When(Exists(rows.filter(served__in=UNVERIFIED)), then=Value(ServingTruth.UNVERIFIED.value)),
        When(whole, then=Value(ServingTruth.VERIFIED.value)),
        default=Value(ServingTruth.UNKNOWN.value),
        output_field=CharField(),
    )
    annotated: QuerySet[Any, Any] = endpoints.annotate(serving_truth=truth)
    return annotated


def count_serving(
    endpoints: QuerySet[DeployedEndpoint], *, now: datetime | Now = DATABASE_NOW
) -> dict[str, dict[Any, int]]:
    """Return the number of active endpoints of each project, by their `ServingTruth`."""
    found: dict[str, dict[Any, int]] = {each.value: {} for each in ServingTruth}
    for row in counted_serving(endpoints, now=now):
        found[row["serving_truth"]][row["project"]] = row["n"]
    return found


def counted_serving(
    endpoints: QuerySet[Any, Any], *, now: datetime | Now = DATABASE_NOW
) -> QuerySet[Any, dict[str, Any]]:
    """The number `n` of active endpoints by `project` and `serving_truth`."""
    active = with_serving_truth(endpoints.filter(is_active=True), now=now)
    return active.order_by().values("project", "serving_truth").annotate(n=Count("pk"))
