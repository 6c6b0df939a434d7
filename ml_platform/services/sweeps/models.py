"""The comparison of our tables with the mirror, a chunk of rows at a time: SQL picks, drift judges.

A row that somebody works on, or that changed since the sweep began, is held: neither seen nor gone,
and told as left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import timedelta

from django.db.models import Count

from ml_platform.cloud.names import ModelName
from ml_platform.conf import require_settings
from ml_platform.errors import Invalid
from ml_platform.models import MirroredArtifacts, MirroredModel, RegisteredModel, Sweep, TrainingRun
from ml_platform.models.locking import update_rows
from ml_platform.models.states import FindingKind, RegistryState
from ml_platform.services.findings.compare_models import (
    Lineage,
    ListedModel,
    Location,
    compare_lineage,
    compare_unclaimed,
)
from ml_platform.services.findings.discrepancy import (
    Discrepancy,
    Orphan,
    Version,
    compare_artifacts,
    compare_orphan,
    orphan_subject,
    version_of,
)
from ml_platform.services.findings.exclusions import (
    ELSEWHERE,
    NEW,
    UNSTORED,
    WORKED_ON,
    LeftOut,
    Reading,
    Touched,
)
from ml_platform.services.findings.store import (
    close_unseen,
    end_surplus,
    hold_findings,
    keep_findings,
    looks_at,
)
from ml_platform.services.operations.store import lineage_key
from ml_platform.services.registry.labels import is_uid, owner
from ml_platform.services.registry.ownership import OwnModels, own_models

from .services import compare_endpoints, compare_leftovers

SKEW = timedelta(seconds=1)
"""By how much Google's clock may be ahead of ours before a model counts as new to a sweep."""


def compare(reading: Reading) -> list[LeftOut]:
    """Judge everything that the planes this sweep read can tell; returns what it held."""
    sweep = reading.sweep
    judged = [(judge, kinds) for plane, judge, kinds in JUDGES if not plane or _read(sweep, plane)]
    held = [left_out for judge, _ in judged for left_out in judge(reading)]
    kinds = [kind for _, kinds in judged for kind in kinds]
    close_unseen(kinds=kinds, sweep=sweep, now=reading.now)
    return held


def _read(sweep: Sweep, plane: str) -> bool:
    return bool(sweep.planes[plane]["read"])


# ---- orphans -------------------------------------------------------------------------------------


def _compare_orphans(reading: Reading) -> list[LeftOut]:
    sweep, now = reading.sweep, reading.now
    created_before = sweep.started_at - timedelta(days=require_settings().ORPHAN_DAYS)
    held: list[LeftOut] = []
    for chunk in reading.chunks(RegisteredModel.objects.orphans(created_before=created_before)):
        orphans = _with_leftovers(chunk)
        touched = reading.touched().lineages
        free = [o for o in orphans if _key(o) not in touched]
        busy = [o for o in orphans if _key(o) in touched]
        held += keep_findings(drifts=[compare_orphan(o) for o in free], sweep=sweep, now=now)
        hold_findings(subjects=[orphan_subject(o.id) for o in busy], sweep=sweep)
        held += [LeftOut(o.model_name, WORKED_ON, o.project_id) for o in busy]
    return held


def _with_leftovers(chunk: list[RegisteredModel]) -> list[Orphan]:
    pks = [lineage.pk for lineage in chunk]
    runs, schedules = (
        dict(
            RegisteredModel.objects.filter(pk__in=pks).values_list("pk").annotate(n=Count(related))
        )
        for related in ("training_runs", "training_schedules")
    )
    return [
        Orphan(
            id=lineage.pk,
            project_id=lineage.project_id,
            model_name=lineage.model_name,
            created_at=lineage.created_at,
            runs=runs[lineage.pk],
            schedules=schedules[lineage.pk],
        )
        for lineage in chunk
    ]


# ---- registered lineages and the Vertex AI plane -------------------------------------------------


def _compare_lineages(reading: Reading) -> list[LeftOut]:
    place, sweep = _place(), reading.sweep
    held: list[LeftOut] = []
    for chunk in reading.chunks(RegisteredModel.objects.registered().only(*_LINEAGE)):
        lineages = [_lineage(row) for row in chunk]
        seen = _seen_by_id({lineage.name.model_id for lineage in lineages if lineage})
        labelled = _labelled(seen.values())
        touched = reading.touched().lineages
        drifts: list[Discrepancy] = []
        judged: set[int] = set()
        for row, lineage in zip(chunk, lineages, strict=True):
            why = _why_left_out(lineage, place, reading, touched)
            if lineage is None or why:
                held.append(LeftOut(row.model_name, why, row.project_id))
                continue
            found = seen.get(lineage.name.model_id)
            run = labelled.get(found.run_uid) if found else None
            judged.add(lineage.id)
            if drift := compare_lineage(lineage, found, run, place):
                drifts.append(drift)
        held += keep_findings(drifts=drifts, sweep=sweep, now=reading.now)
        left = [row for row in chunk if row.pk not in judged]
        hold_findings(subjects=[row.vertex_model_resource_name for row in left], sweep=sweep)
        _write_states(judged, drifts, looks_at(drifts), sweep)
    return held


def _why_left_out(
    lineage: Lineage | None, place: Location, reading: Reading, touched: Collection[str]
) -> str:
    """Why a lineage may not be judged, '' when it may."""
    if lineage is None or not place.holds(lineage.name):
        return ELSEWHERE
    if _key(lineage) in touched:
        return WORKED_ON
    if lineage.name.model_id in reading.unstored["vertex"]:
        return UNSTORED
    return NEW if lineage.registered_at > reading.sweep.started_at else ""


def _write_states(
    judged: Iterable[int], drifts: Iterable[Discrepancy], looks: dict[str, int], sweep: Sweep
) -> None:
    """Bring the chunk's registry states up to date, those of each state at a time."""
    states = dict.fromkeys(judged, RegistryState.VERIFIED)
    for drift in drifts:
        if drift.lineage_id is not None and drift.kind != FindingKind.SURPLUS_VERSION:
            stale = drift.kind == FindingKind.STALE_POINTER and looks.get(drift.subject, 1) > 1
            states[drift.lineage_id] = RegistryState.MISSING if stale else RegistryState.SUSPECTED
    for state in set(states.values()):
        rows = RegisteredModel.objects.registered().filter(
            pk__in=[pk for pk, wanted in states.items() if wanted == state],
            latest_registered_at__lte=sweep.started_at,
        )
        update_rows(rows, registry_state=state, registry_checked_at=sweep.started_at)


def _lineage(row: RegisteredModel) -> Lineage | None:
    """The lineage as a value; None when its pointer is no name at all, which proves nothing."""
    try:
        name = ModelName.parse(row.vertex_model_resource_name)
    except Invalid:
        return None
    return Lineage(
        id=row.pk,
        project_id=row.project_id,
        model_name=row.model_name,
        name=name,
        versions=row.total_versions,
        registered_at=row.latest_registered_at or row.created_at,
    )


# ---- models that no version points at ------------------------------------------------------------


def _compare_unclaimed(reading: Reading) -> list[LeftOut]:
    place, sweep = _place(), reading.sweep
    held: list[LeftOut] = []
    for chunk in reading.chunks(MirroredModel.objects.only(*_SEEN)):
        models = _unclaimed(chunk, place)
        labelled = _labelled(models)
        own = own_models({run.lineage_id for run in labelled.values() if run.lineage_id})
        touched = reading.touched()
        drifts: list[Discrepancy] = []
        busy: list[str] = []
        for seen in models:
            run = labelled.get(seen.run_uid)
            why = _why_not(seen, run, reading, touched)
            if why:
                busy.append(str(seen.name))
                held.append(LeftOut(seen.display_name, why, run.project_id if run else None))
            else:
                theirs = own.get(run.lineage_id or 0, OwnModels()) if run else OwnModels()
                is_own = theirs.holds(seen.name)
                drifts.append(compare_unclaimed(seen, run, place, own=is_own))
                if run and not is_own:
                    end_surplus(
                        subject=str(seen.name),
                        lineage_id=run.lineage_id,
                        sweep=sweep,
                        now=reading.now,
                    )
        held += keep_findings(drifts=drifts, sweep=sweep, now=reading.now)
        hold_findings(subjects=busy, sweep=sweep)
    return held


def _why_not(seen: ListedModel, run: Version | None, reading: Reading, touched: Touched) -> str:
    """Why a model that no version points at may not be judged, '' when it may."""
    if seen.name.model_id in reading.unstored["vertex"]:
        return UNSTORED
    if seen.created_at is not None and seen.created_at > reading.sweep.started_at + SKEW:
        return NEW
    worked_on = seen.name.model_id in touched.models
    return WORKED_ON if worked_on or (run and _key(run) in touched.lineages) else ""


def _unclaimed(chunk: list[MirroredModel], place: Location) -> list[ListedModel]:
    """The models of the chunk that none of our versions points at, by project id or number."""
    models = [_seen(row) for row in chunk]
    by_name = {str(seen.name): seen for seen in models}
    by_name |= {str(replace(seen.name, project=place.project)): seen for seen in models}
    pointed = (
        TrainingRun.objects.versions()
        .filter(vertex_model_resource_name__in=list(by_name))
        .values_list("vertex_model_resource_name", flat=True)
        .distinct()
    )
    claimed = {by_name[name].name for name in pointed}
    return [seen for seen in models if seen.name not in claimed]


# ---- artifacts -----------------------------------------------------------------------------------


def _compare_artifacts(reading: Reading) -> list[LeftOut]:
    """Only folders below the listed root can be judged; adopted models keep theirs elsewhere."""
    settings, sweep = require_settings(), reading.sweep
    root = f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/"
    held: list[LeftOut] = []
    versions = TrainingRun.objects.versions().filter(gcs_artifacts_path__startswith=root)
    old = versions.filter(registered_at__lte=sweep.started_at)
    for chunk in reading.chunks(old.only(*_VERSION)):
        runs = [version_of(run) for run in chunk]
        there = set(
            MirroredArtifacts.objects.filter(
                prefix__in=[run.artifacts for run in runs]
            ).values_list("prefix", flat=True)
        )
        touched = reading.touched().lineages
        busy = {run: WORKED_ON for run in runs if _key(run) in touched}
        busy |= {run: UNSTORED for run in runs if run.artifacts in reading.unstored["gcs"]}
        judged = (compare_artifacts(r, there=r.artifacts in there) for r in runs if r not in busy)
        drifts = [drift for drift in judged if drift]
        held += keep_findings(drifts=drifts, sweep=sweep, now=reading.now)
        hold_findings(subjects=[f"run {run.run_id}" for run in busy], sweep=sweep)
        held += [
            LeftOut(f"{run.model_name} v{run.number}", why, run.project_id)
            for run, why in busy.items()
        ]
    return held


JUDGES = (
    ("", _compare_orphans, (FindingKind.ORPHAN,)),
    ("vertex", _compare_lineages, (FindingKind.STALE_POINTER,)),
    ("vertex", _compare_unclaimed, (FindingKind.UNMANAGED, FindingKind.VERSION_MISMATCH)),
    ("gcs", _compare_artifacts, (FindingKind.ARTIFACTS_MISSING,)),
    ("cloud_run", compare_leftovers, (FindingKind.LEFTOVER_SERVICE,)),
    (
        "cloud_run",
        compare_endpoints,
        (FindingKind.SERVICE_MISSING, FindingKind.SERVICE_MISMATCH),
    ),
)
"""The plane a judge needs read, the judge, the kinds it has judged completely when it is done.

Lineages make version mismatches too, and are judged first, so that the second closes them. A
surplus version is closed by its repair alone: a listing shows only a model's default version."""


# ---- what they read ------------------------------------------------------------------------------

# The columns of a judgement: a sweep of many thousands reads no more.
_LINEAGE = (
    "project", "model_name", "vertex_model_resource_name", "total_versions",
    "latest_registered_at", "created_at",
)  # fmt: skip
_VERSION = (
    "uid", "registered_model", "project", "model_name", "version", "registration",
    "vertex_model_resource_name", "vertex_model_version", "last_vertex_version",
    "gcs_artifacts_path", "parameters",
)  # fmt: skip
_SEEN = (
    "model_id", "resource_name", "display_name", "version", "owner", "run_uid", "artifact_uri",
    "remote_created_at",
)  # fmt: skip


def _key(about: Lineage | Orphan | Version) -> str:
    return lineage_key(project_id=about.project_id, model_name=about.model_name)


def _place() -> Location:
    settings = require_settings()
    one = MirroredModel.objects.order_by("pk").first()
    number = ModelName.parse(one.resource_name).project if one else ""
    return Location(
        project=settings.PROJECT_ID,
        number=number if number.isdigit() else "",
        location=settings.LOCATION,
        owner=owner(),
    )


def _seen(row: MirroredModel) -> ListedModel:
    return ListedModel(
        name=ModelName.parse(row.resource_name),
        display_name=row.display_name,
        version=row.version,
        owner=row.owner,
        run_uid=row.run_uid,
        artifact_uri=row.artifact_uri,
        created_at=row.remote_created_at,
    )


def _seen_by_id(model_ids: Collection[str]) -> dict[str, ListedModel]:
    rows = MirroredModel.objects.filter(model_id__in=model_ids).only(*_SEEN)
    return {row.model_id: _seen(row) for row in rows}


def _labelled(models: Iterable[ListedModel]) -> dict[str, Version]:
    """The runs that these models' labels name, by uid."""
    uids = {seen.run_uid for seen in models if is_uid(seen.run_uid)}
    runs = TrainingRun.objects.filter(uid__in=uids).only(*_VERSION)
    return {run.uid.hex: version_of(run) for run in runs}
