"""Users, projects and runs: rows of ours alone, so that they come in one transaction each page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import IntegrityError

from ml_platform.cloud.answers import Unknown
from ml_platform.cloud.names import ModelName
from ml_platform.conf import project_model
from ml_platform.errors import Conflict
from ml_platform.models import Project, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_row
from ml_platform.models.project import key_field
from ml_platform.models.states import DEPLOYABLE_RUN_STATUSES
from ml_platform.services.access.scope import all_projects
from ml_platform.services.operations.history import record
from ml_platform.services.operations.subjects import version_name
from ml_platform.text import counted

from .candidates import ProjectRow, RunRow, UserRow
from .context import (
    IMPORT,
    Claim,
    Decision,
    HostModel,
    Importing,
    Outcome,
    ask_versions,
    subject_of,
)

# ---- users and projects ------------------------------------------------------------------------


def find_users(work: Importing) -> None:
    """Learn who of ours a person of the host is: the user of the same name, and nobody else."""
    users = get_user_model()
    for page in work.candidates("users", UserRow):
        names = [row.name for row in page]
        lookup = f"{users.USERNAME_FIELD}__in"
        found = users._default_manager.filter(**{lookup: names})  # noqa: SLF001 - Django's documented name
        ours = {user.get_username(): user.pk for user in found}
        work.users |= {row.key: ours[row.name] for row in page if row.name in ours}


def import_projects(work: Importing) -> None:
    """Find the project of each tenant; make it where projects are ours."""
    named = {str(project): project for project in all_projects()}
    same_rows = work.mapping.projects.table.lower() == project_model().lower()
    for page in work.candidates("projects", ProjectRow):
        for row in page:
            project = _same_row(row) if same_rows else named.get(row.name)
            decision = Decision(Outcome.PRESENT)
            if project is None and apps.get_model(project_model()) is not Project:
                decision = Decision(
                    Outcome.REFUSED, f"There is no {project_model()} of that name: make it first."
                )
            elif project is None:
                decision = Decision(Outcome.IMPORTED)
                project = _make_project(work, row) if work.write else None
            work.note("projects", row.key, row.name, decision)
            if decision.outcome != Outcome.REFUSED:
                work.projects[row.key] = project


def _same_row(row: ProjectRow) -> Any:
    """The project of that key, where the host's tenants are our projects."""
    key = key_field(project_model()).to_python(row.key)
    return all_projects().filter(pk=key).first()


def _make_project(work: Importing, row: ProjectRow) -> Project:
    with atomic():
        made, _ = Project.objects.get_or_create(
            name=row.name, defaults={"description": row.description}
        )
        if row.member in work.users:
            made.members.add(work.users[row.member])
        record(
            workflow=IMPORT,
            subject=subject_of(made, f"the project {row.name}"),
            actor=work.actor,
            now=work.clock(),
            note=f"It is row {row.key} of the imported platform.",
        )
    return made


# ---- runs --------------------------------------------------------------------------------------


def compare_run(
    row: RunRow, *, is_here: bool, has_project: bool, model: HostModel | None, is_adopted: bool
) -> Decision:
    """Return what becomes of a run; `model` is the one of the host that it points at, and
    `is_adopted` whether its version is that of another run here."""
    if not has_project:
        return Decision(Outcome.REFUSED, f"Its project {row.project} did not come.")
    if row.is_live:
        return Decision(Outcome.WAITS, f"It is {row.status.label.lower()}: its pipeline may end.")
    if is_here or is_adopted:
        return Decision(Outcome.PRESENT, "Its version was adopted before." if is_adopted else "")
    if model is not None and isinstance(model.answer, Unknown):
        return Decision(Outcome.WAITS, f"Whether it is a version is unknown. {model.answer.reason}")
    return _compare_version(row.pointer, model)


def _compare_version(pointer: ModelName | None, model: HostModel | None) -> Decision:
    """Return as what a run comes, by what Vertex AI has of its model."""
    if pointer is None:
        return Decision(Outcome.IMPORTED)
    if model is None or not model.has(pointer.version):
        lacking = f"As history: Vertex AI has no version {pointer.version} of {pointer.model_id}."
        return Decision(Outcome.IMPORTED, lacking)
    if model.decision.outcome == Outcome.PRESENT:
        return Decision(
            Outcome.WAITS,
            f"Its model is here without version {pointer.version}: repair the finding about more "
            "versions, then import again.",
        )
    return Decision(Outcome.IMPORTED, f"Version {pointer.version} of {pointer.model_id}.")


def import_runs(work: Importing) -> None:
    """Bring the runs that have ended. Each is a version only once its model is adopted."""
    for page in work.candidates("runs", RunRow):
        uids = {row.key: work.uid("runs", row.key) for row in page}
        here = TrainingRun.objects.filter(uid__in=uids.values()).values_list("uid", flat=True)
        known = set(here)
        new: list[RunRow] = []
        for row in page:
            is_here, model = uids[row.key] in known, work.model_at(row.pointer)
            adopted = None if is_here else _adopted_before(row, model)
            decision = compare_run(
                row,
                is_here=is_here,
                has_project=row.project in work.projects,
                model=model,
                is_adopted=adopted is not None,
            )
            work.note("runs", row.key, row.name, decision)
            if decision.outcome in (Outcome.IMPORTED, Outcome.PRESENT):
                _claim(work, row, model)
            if decision.outcome == Outcome.IMPORTED:
                new.append(row)
            elif adopted is not None and work.write:
                _fill(work, adopted, row)
        if work.write and new:
            _write_runs(work, new)


def _adopted_before(row: RunRow, model: HostModel | None) -> TrainingRun | None:
    """The run that an adoption without the host's rows made of this version. Otherwise Vertex AI is
    asked for the versions of a model that is here."""
    if model is None or row.pointer is None or model.decision.outcome != Outcome.PRESENT:
        return None
    where = f"/locations/{row.pointer.location}/models/{row.pointer.model_id}"
    versions = TrainingRun.objects.versions().filter(vertex_model_resource_name__endswith=where)
    found = versions.filter(vertex_model_version=row.pointer.version).first()
    if found is None and model.answer is None:
        model.answer = ask_versions(row.pointer.bare)
    return found


def _fill(work: Importing, run: TrainingRun, row: RunRow) -> None:
    """Add the metrics and the verdict that an adoption could not know."""
    metrics, _ = row.kept_metrics
    with atomic():
        locked = lock_row(TrainingRun.objects.filter(pk=run.pk))
        locked.metrics = locked.metrics or metrics
        locked.is_blessed = row.blessed if locked.is_blessed is None else locked.is_blessed
        if (locked.metrics, locked.is_blessed) == (run.metrics, run.is_blessed):
            return
        locked.save(update_fields=["metrics", "is_blessed", "updated_at"])
        record(
            workflow=IMPORT,
            subject=subject_of(work.projects[row.project], f"what is known of {version_name(run)}"),
            actor=work.actor,
            now=work.clock(),
            note=f"It is row {row.key} of {work.place_of('runs')}.",
        )


def _claim(work: Importing, row: RunRow, model: HostModel | None) -> None:
    """Remember which version and which schedule a run belongs to."""
    uid, pointer = work.uid("runs", row.key), row.pointer
    if row.schedule:
        work.runs_of.setdefault(row.schedule, []).append(uid)
    if model and pointer and model.has(pointer.version) and row.status in DEPLOYABLE_RUN_STATUSES:
        registered = row.registered_at.isoformat() if row.registered_at else ""
        model.claims.setdefault(pointer.version, Claim(uid, registered))


def _write_runs(work: Importing, rows: Sequence[RunRow]) -> None:
    """Write these runs, and an operation of each project that says so.

    :raises Conflict: another import brings them at this moment.
    """
    now = work.clock()
    try:
        with atomic():
            TrainingRun.objects.bulk_create([_run(work, row) for row in rows])
            for project in sorted({row.project for row in rows}):
                keys = [row.key for row in rows if row.project == project]
                record(
                    workflow=IMPORT,
                    subject=subject_of(work.projects[project], counted(len(keys), "run")),
                    actor=work.actor,
                    now=now,
                    note=f"Rows {keys[0]} to {keys[-1]} of {work.place_of('runs')}.",
                )
    except IntegrityError as error:
        raise Conflict(
            "Another import brings the same runs at this moment.",
            code="import_runs_twice",
            advice="Wait for it to end, then import again.",
        ) from error


def _run(work: Importing, row: RunRow) -> TrainingRun:
    """A run that ended elsewhere: without a template, so that it is not repeated here, and with its
    files where they are, which keeps them from every cleanup."""
    metrics, remark = row.kept_metrics
    made = row.created_at or row.started_at or row.finished_at or work.clock()
    origin = {"table": work.place_of("runs"), "key": row.key}
    told = {"resource_name": row.resource_name, "version": row.version}
    return TrainingRun(
        uid=work.uid("runs", row.key),
        project_id=work.projects[row.project].pk,
        model_name=row.model_name,
        model_type=row.type,
        status=row.status,
        stage=row.kept_stage,
        progress=100 if row.status in DEPLOYABLE_RUN_STATUSES else 0,
        error=row.error,
        remark=remark,
        parameters={
            **row.parameters,
            **({"adopted_from": row.artifacts} if row.artifacts else {}),
            "imported": origin | {name: value for name, value in told.items() if value},
        },
        pipeline_job_name=row.pipeline_job,
        metrics=metrics,
        is_blessed=row.blessed,
        created_by_id=work.users.get(row.created_by),
        created_at=made,
        submitted_at=row.started_at,
        finished_at=row.finished_at or made,
    )
