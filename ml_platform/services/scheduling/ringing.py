"""Whether Cloud Scheduler will call for a schedule, as the newest sweep found it."""

from __future__ import annotations

from collections.abc import Mapping

from django.db.models import CharField, OuterRef, QuerySet, Subquery, Value
from django.db.models.functions import Cast, Concat

from ml_platform.models import TrainingSchedule
from ml_platform.services.findings.comparisons.jobs import SCHEDULE_KINDS, schedule_subject
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import standing

_WORDS: Mapping[str, str] = {
    FindingKind.SCHEDULE_MISSING: "Missing in Cloud Scheduler",
    FindingKind.SCHEDULE_PAUSED: "Paused in Cloud Scheduler",
    FindingKind.SCHEDULE_CHANGED: "Changed in Cloud Scheduler",
    FindingKind.SCHEDULE_OVERDUE: "Overdue",
}
_SILENT = (FindingKind.SCHEDULE_MISSING, FindingKind.SCHEDULE_PAUSED)


def with_job_finding(rows: QuerySet[TrainingSchedule]) -> QuerySet[TrainingSchedule]:
    """Annotate `job_finding`: the kind of the standing finding about its job, or None."""
    subject = Concat(Value(schedule_subject("")), Cast(OuterRef("pk"), CharField()))
    found = standing().filter(kind__in=SCHEDULE_KINDS, subject=subject)
    return rows.annotate(job_finding=Subquery(found.order_by("pk").values("kind")[:1]))


def job_finding(schedule: TrainingSchedule) -> str:
    """Return the kind of the standing finding about the schedule's job, '' for none."""
    return getattr(schedule, "job_finding") or ""  # noqa: B009 - annotated by `with_job_finding`


def status_of(schedule: TrainingSchedule) -> str:
    """Return the state of the schedule in words, or how its job differs from it."""
    return _WORDS.get(job_finding(schedule)) or str(schedule.get_state_display())


def is_silent(schedule: TrainingSchedule) -> bool:
    """Whether no call comes at its next time, because its job is missing or paused."""
    return job_finding(schedule) in _SILENT
