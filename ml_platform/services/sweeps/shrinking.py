"""Whether a plane suddenly lacks much of what it had: one alarm instead of a finding for each.

A listing that is complete, and short, is more often a fault (a lost permission on a folder, another
project in the settings, an error of Google) than the truth. So it is not believed at once: the
mirror keeps what it had, nothing of the plane is compared, and a person confirms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.db.models import QuerySet

from ml_platform.conf import require_settings
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    MirroredArtifacts,
    MirroredEndpoint,
    MirroredJob,
    MirroredModel,
    MirroredService,
    Sweep,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.registry.training_run import TrainingRunQuerySet
from ml_platform.models.states import (
    LIVE_SCHEDULE_STATES,
    EndpointState,
    FindingStatus,
    Registration,
)
from ml_platform.services.findings.discrepancy import Discrepancy
from ml_platform.services.findings.exclusions import Reading
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import hold_findings
from ml_platform.services.mirror.brake import PLANES, PlaneShrunk, why_shrunk
from ml_platform.services.operations.work import Json
from ml_platform.services.ownership.labels import owner
from ml_platform.services.scheduling.platform_jobs import jobs_set_up
from ml_platform.services.sweeps.planes.models import Compared
from ml_platform.text import counted

FLOOR = 3
"""So many may go at once without an alarm: a person deletes a few things in an afternoon, and in a
small plane each of them is more than a tenth."""
PARTS = 10
"""More than one of so many parts of a plane is an alarm."""
NAMED = 10
"""What lacks, as far as the alarm names it."""
CONFIRM = (
    "Compare it with Google Cloud. If it is true, confirm it: the next sweep then makes a finding "
    "for each. Nothing is repaired before that. It closes by itself when they are back."
)


def has_shrunk(*, had: int, lacks: int) -> bool:
    """Whether a plane that had so many things suddenly lacks too many of them."""
    return lacks > FLOOR and lacks * PARTS > had


def judge(name: str, *, had: int, lacks: int, unseen: Iterable[QuerySet[Any]]) -> Json | None:
    """Return the result of a plane that must not be believed; None for one that may.

    `had` is how many rows its mirror had before the sweep; `unseen` are those it does not list now,
    `lacks` of them, in parts.
    """
    if not has_shrunk(had=had, lacks=lacks):
        return None
    lacks, named = 0, list[str]()
    for part in unseen:
        found = MISSED[name](list(part.order_by("pk")))
        lacks += len(found)
        named += found[: NAMED - len(named)]
    if not has_shrunk(had=had, lacks=max(0, lacks - _confirmed(name))):
        return None
    return {
        "read": False,
        "reason": why_shrunk(name),
        "code": PlaneShrunk.code,
        "had": had,
        "lacks": lacks,
        "named": named,
    }


def _confirmed(name: str) -> int:
    """How many a person has confirmed to be gone, since the plane was last believed."""
    alarms = Finding.objects.filter(kind=FindingKind.PLANE_SHRUNK, subject=name)
    last = alarms.filter(status=FindingStatus.REPAIRED).order_by("-ended_at").first()
    read = Sweep.objects.finished().filter(**{f"planes__{name}__read": True}).first()
    if last is None or last.ended_at is None or (read and last.ended_at < read.started_at):
        return 0
    lacks: int = last.evidence["lacks"]
    return lacks


def compare_planes(reading: Reading) -> Iterator[Compared]:
    """Make the alarm of each plane that has shrunk; that of one which could not be read stays."""
    planes = reading.sweep.planes
    shrunk = {name: p for name, p in planes.items() if p.get("code") == PlaneShrunk.code}
    unread = [name for name, plane in planes.items() if not plane["read"] and name not in shrunk]
    hold_findings(subjects=unread, sweep=reading.sweep)
    yield Compared([_alarm(name, plane) for name, plane in shrunk.items()], [])


def _alarm(name: str, plane: Mapping[str, Any]) -> Discrepancy:
    title, noun = PLANES[name]
    return Discrepancy(
        kind=FindingKind.PLANE_SHRUNK,
        subject=name,
        title=f"{title} lacks {plane['lacks']:,} of {counted(plane['had'], noun)} that it had",
        repair=CONFIRM,
        evidence={"plane": name, **{key: plane[key] for key in ("had", "lacks", "named")}},
    )


# ---- what our rows still need, or others have ----------------------------------------------------


def _staying() -> TrainingRunQuerySet:
    """The versions that are not being deleted by us."""
    return TrainingRun.objects.versions().filter(registration=Registration.REGISTERED)


def _models(rows: Sequence[MirroredModel]) -> Sequence[str]:
    """A model of ours that no version points at any more is gone because we deleted it."""
    here = f"projects/{require_settings().PROJECT_ID}"
    names = {row.resource_name: row.model_id for row in rows}
    # Our tables may have the project's id where Vertex AI has its number.
    names |= {f"{here}/{name.split('/', 2)[2]}": model_id for name, model_id in names.items()}
    versions = _staying().filter(vertex_model_resource_name__in=names)
    pointed = {
        names[name] for name in versions.values_list("vertex_model_resource_name", flat=True)
    }
    us = owner()
    return [row.model_id for row in rows if row.owner != us or row.model_id in pointed]


def _folders(rows: Sequence[MirroredArtifacts]) -> Sequence[str]:
    """Only versions need theirs: cleanups delete the others."""
    prefixes = [row.prefix for row in rows]
    versions = _staying().filter(gcs_artifacts_path__in=prefixes)
    return list(versions.values_list("gcs_artifacts_path", flat=True))


def _services(rows: Sequence[MirroredService]) -> Sequence[str]:
    names = [row.service_name for row in rows]
    active = DeployedEndpoint.objects.filter(service_name__in=names, state=EndpointState.ACTIVE)
    serving, us = set(active.values_list("service_name", flat=True)), owner()
    return [r.service_name for r in rows if r.owner != us or r.service_name in serving]


def _jobs(rows: Sequence[MirroredJob]) -> Sequence[str]:
    names = [row.resource_name for row in rows]
    live = TrainingSchedule.objects.filter(
        state__in=LIVE_SCHEDULE_STATES, scheduler_job_name__in=names
    )
    ringing = set(live.values_list("scheduler_job_name", flat=True))
    ours = jobs_set_up()
    return [r.job_id for r in rows if r.theirs or r.resource_name in ringing or r.job_id in ours]


def _endpoints(rows: Sequence[MirroredEndpoint]) -> Sequence[str]:
    """People make and delete them, we do not."""
    return [row.endpoint_id for row in rows]


MISSED: Mapping[str, Callable[[Any], Sequence[str]]] = {
    "vertex": _models,
    "vertex_endpoints": _endpoints,
    "gcs": _folders,
    "cloud_run": _services,
    "scheduler": _jobs,
}
"""Which of the rows that a plane does not list any more we did not end ourselves."""
