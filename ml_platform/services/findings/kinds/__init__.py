"""The closed table of finding kinds: what each means, what finds it, and what repairs it.

A new kind is one entry in the module of its plane and the comparison that makes it. Comparisons and
repairs are named by their dotted paths, because their packages import this one.
"""

from __future__ import annotations

from django.db.models import Case, IntegerField, Value, When

from ml_platform.models import Finding

from .cloud_run import CloudRunKinds
from .gcs import StorageKinds
from .kind import Facts, Kind, Repair
from .records import RecordKinds
from .scheduler import SchedulerKinds
from .several_planes import SeveralPlanesKinds
from .vertex import VertexKinds
from .vertex_endpoints import VertexEndpointKinds

__all__ = [
    "KINDS",
    "Facts",
    "FindingKind",
    "Kind",
    "Repair",
    "facts_of",
    "kind_of",
    "kinds_of",
    "worst_first",
]

_TONES = ("bad", "warn", "quiet")


class FindingKind(
    SeveralPlanesKinds,
    VertexKinds,
    StorageKinds,
    CloudRunKinds,
    VertexEndpointKinds,
    SchedulerKinds,
    RecordKinds,
):
    """The kinds by their names; of two with one tone, that of the earlier plane is worse."""


KINDS = tuple(
    sorted(
        (
            kind
            for plane in FindingKind.__bases__
            for kind in vars(plane).values()
            if isinstance(kind, Kind)
        ),
        key=lambda kind: _TONES.index(kind.facts.tone),
    )
)
"""The kinds, worst first."""
_BY_SLUG = {str(kind): kind for kind in KINDS}


def kind_of(slug: str) -> Kind:
    """Return the kind with that slug.

    :raises KeyError: this release does not know it.
    """
    return _BY_SLUG[slug]


def facts_of(finding: Finding) -> Facts:
    """Return what the platform knows about a finding's kind."""
    return kind_of(finding.kind).facts


def kinds_of(plane: str) -> tuple[Kind, ...]:
    """The kinds that a sweep cannot judge without that plane."""
    return tuple(kind for kind in KINDS if kind.facts.plane == plane)


def worst_first() -> Case:
    """Order findings by their kind; a kind that this release does not know comes last."""
    return Case(
        *(When(kind=kind, then=Value(place)) for place, kind in enumerate(KINDS)),
        default=Value(len(KINDS)),
        output_field=IntegerField(),
    )
