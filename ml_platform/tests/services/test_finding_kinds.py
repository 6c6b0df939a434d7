"""The table of finding kinds is complete: each kind is found, worded, ordered and repaired."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.utils.module_loading import import_string

from ml_platform.cloud.types import JobSpec, RemoteObject, ServiceSpec
from ml_platform.conf import get_settings
from ml_platform.models import (
    AwaitingRemoval,
    EndpointTraffic,
    Finding,
    MirroredArtifacts,
    MirroredEndpoint,
    MirroredJob,
    MirroredModel,
    MirroredService,
    ModelCount,
    Operation,
    RegisteredModel,
    Sweep,
    TrainingRun,
)
from ml_platform.models.clock import database_now
from ml_platform.models.registry.manifest import ManifestOrigin
from ml_platform.models.states import OperationStatus, Registration
from ml_platform.pages.view_models.badges import ICONS, PLANE_NAMES
from ml_platform.services.access.rights import Right
from ml_platform.services.artifacts.manifest import Taken, compare_files, keep_manifest
from ml_platform.services.findings.exclusions import Reading
from ml_platform.services.findings.kinds import KINDS, Facts, FindingKind, Kind, worst_first
from ml_platform.services.findings.store import write_findings
from ml_platform.services.mirror.brake import PlaneShrunk
from ml_platform.services.operations.store import Actor, open_operation
from ml_platform.services.ownership.labels import owner
from ml_platform.services.registry.lineages import clear_pointer, sync_version_cache
from ml_platform.services.repairs.reconciliation import is_safe
from ml_platform.services.scheduling.job import job_spec
from ml_platform.services.scheduling.platform_jobs import WORKFLOW, SetupState, subject_of_job
from ml_platform.services.scheduling.platform_jobs import job_spec as spec_of
from ml_platform.services.serving.our_fields import keep_seen, keep_written
from ml_platform.services.sweeps.sweep import PLANES
from ml_platform.tests.factories import (
    LONG_AGO,
    PROJECT_NUMBER,
    DeployedEndpointFactory,
    RegisteredModelFactory,
    TrainingScheduleFactory,
    version_of,
)

EACH_KIND = pytest.mark.parametrize("kind", KINDS)
EACH_REPAIR = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.facts.repairs])
DOCS = Path(__file__).resolve().parents[3] / "docs"


def registered() -> TrainingRun:
    lineage: RegisteredModel = RegisteredModelFactory.create()
    run: TrainingRun = version_of(lineage)
    return run


def listed(sweep: Sweep, model_id: str, version: str = "1", **fields: Any) -> None:
    """Mirror a model of Vertex AI."""
    name = f"projects/{PROJECT_NUMBER}/locations/{get_settings().LOCATION}/models/{model_id}"
    values = {"display_name": model_id, "version": version, "remote_created_at": LONG_AGO}
    MirroredModel.objects.create(
        model_id=model_id, resource_name=name, seen_sweep=sweep, seen_at=LONG_AGO, **values | fields
    )


def serving(sweep: Sweep, name: str, **labels: str) -> None:
    """Mirror a Cloud Run service with our label and no endpoint of ours."""
    values = {"owner": owner()} | labels
    MirroredService.objects.create(service_name=name, seen_sweep=sweep, seen_at=LONG_AGO, **values)


def own_id(run: TrainingRun) -> str:
    return run.vertex_model_resource_name.rpartition("/")[2]


def comes_back(sweep: Sweep, registration: Registration) -> None:
    """Vertex AI lists a version that our records have as lost or deleted."""
    run = registered()
    listed(sweep, own_id(run), owner=owner(), run_uid=run.uid.hex)
    clear_pointer(run=run, registration=registration)
    sync_version_cache(registered_model=RegisteredModel.objects.get())


def with_versions(sweep: Sweep, *numbers: str, aliases: Sequence[str] = ()) -> None:
    """Vertex AI has our version with these aliases, and beside it versions that nobody recorded."""
    run = registered()
    ours = {"owner": owner(), "run_uid": run.uid.hex}
    plain = {"owner": "", "run_uid": "", "theirs": False, "artifact_uri": "", "created_at": ""}
    versions = [{"version": number, "aliases": [], **plain} for number in ("1", *numbers)]
    versions[0] |= {"aliases": list(aliases), **ours}
    listed(sweep, own_id(run), versions=versions, versions_read_at=database_now(), **ours)


def without_version(sweep: Sweep) -> None:
    """Vertex AI has our model, and beside its second version not the first."""
    with_versions(sweep)
    version_of(RegisteredModel.objects.get())
    [model] = MirroredModel.objects.all()
    assert model.versions
    model.versions[0]["version"] = model.version = "2"
    model.run_uid = model.versions[0]["run_uid"] = TrainingRun.objects.get(version=2).uid.hex
    model.save()


def without_labels(sweep: Sweep) -> None:
    """Vertex AI lists a version of ours without our labels."""
    listed(sweep, own_id(registered()))


def another_serves(sweep: Sweep, **labels: Any) -> None:
    run = registered()
    endpoint = DeployedEndpointFactory.create(
        serving=True, registered_model=run.registered_model, run=run
    )
    serving(sweep, endpoint.service_name, **{"endpoint_uid": endpoint.uid.hex} | labels)


def another_image_serves(sweep: Sweep) -> None:
    run = registered()
    ours = ServiceSpec(image="ours:1", labels={})
    endpoint = DeployedEndpointFactory.create(
        serving=True,
        registered_model=run.registered_model,
        run=run,
        written=keep_written(ours, revision=""),
    )
    ids = {"endpoint_uid": endpoint.uid.hex, "run_uid": run.uid.hex}
    serving(sweep, endpoint.service_name, **ids)
    theirs = keep_seen(replace(ours, image="by-hand"))
    MirroredService.objects.filter(service_name=endpoint.service_name).update(spec=theirs)


def nothing_serves(sweep: Sweep) -> None:
    del sweep
    run = registered()
    DeployedEndpointFactory.create(serving=True, registered_model=run.registered_model, run=run)


def a_lost_version_serves(sweep: Sweep) -> None:
    """A service serves a version that was lost; one of its model's stays."""
    run = registered()
    clear_pointer(run=run, registration=Registration.LOST)
    endpoint = DeployedEndpointFactory.create(
        serving=True, registered_model=run.registered_model, run=run
    )
    labels = {
        "endpoint_uid": endpoint.uid.hex, "run_uid": run.uid.hex, "newest_revision": "r",
    }  # fmt: skip
    serving(sweep, endpoint.service_name, **labels)
    EndpointTraffic.objects.create(
        endpoint=endpoint, run=run, revision="r", percent=100, seen_at=LONG_AGO
    )


def other_files(sweep: Sweep, *names: str) -> None:
    """Mirror a run's folder that has `names` instead of the two files of its manifest."""
    run = registered()
    was, now = Taken(f"{run.gcs_artifacts_path}pushed_model/1/"), Taken("")
    for taken, found in ((was, ("a", "b")), (now, names)):
        for name in found:
            taken.add(
                name, RemoteObject(name=name, size=1, crc32c="AAAAAA==", generation=1, updated=None)
            )
    keep_manifest(run, was, ManifestOrigin.REGISTRATION, LONG_AGO)
    seen = {"digest": now.digest, "difference": compare_files(was.files, now)}
    MirroredArtifacts.objects.create(
        prefix=run.gcs_artifacts_path, folders={"1": seen}, seen_sweep=sweep, seen_at=LONG_AGO
    )


def left_files() -> None:
    run = registered()
    clear_pointer(run=run, registration=Registration.DELETED)
    AwaitingRemoval.objects.create(
        run=run, folder=run.gcs_artifacts_path, marked_at=LONG_AGO, reason="a hold", refused=1
    )


def at_vertex_endpoint(sweep: Sweep, version: str) -> None:
    """Mirror a Vertex AI endpoint with a version of a model of ours."""
    name = f"projects/{PROJECT_NUMBER}/locations/{get_settings().LOCATION}"
    deployed = {"id": "7", "version": version, "percent": 100}
    MirroredEndpoint.objects.create(
        endpoint_id="9",
        resource_name=f"{name}/endpoints/9",
        deployed=[deployed | {"model": f"{name}/models/{own_id(registered())}"}],
        seen_sweep=sweep,
        seen_at=LONG_AGO,
    )


def job_at_scheduler(sweep: Sweep, spec: JobSpec, **fields: Any) -> None:
    """Mirror the job of that specification."""
    values = {name: getattr(spec, name) for name in ("schedule", "time_zone", "uri")}
    values |= {"state": "enabled", "service_account": spec.service_account} | fields
    MirroredJob.objects.create(
        job_id=spec.job_id, resource_name="j", seen_sweep=sweep, seen_at=LONG_AGO, **values
    )


def scheduled(sweep: Sweep, *, listed: bool = True, due: bool = False, **fields: Any) -> None:
    schedule = TrainingScheduleFactory.create(
        registered_model=registered().registered_model, next_run_at=LONG_AGO if due else None
    )
    if listed:
        job_at_scheduler(sweep, job_spec(schedule), **fields)


def set_up(sweep: Sweep, *, listed: bool = True, **fields: Any) -> None:
    spec = {"job_id": "poll", "schedule": "* * * * *", "webhook": "poll/"}
    actor = Actor(label="ana", origin="command")
    subject = subject_of_job("poll")
    operation, _ = open_operation(
        workflow=WORKFLOW, subject=subject, actor=actor, now=LONG_AGO, state=SetupState(spec=spec)
    )
    Operation.objects.filter(pk=operation.pk).update(
        status=OperationStatus.SUCCEEDED, finished_at=LONG_AGO
    )
    if listed:
        job_at_scheduler(sweep, spec_of(spec), **fields)


def shrinks(sweep: Sweep) -> None:
    sweep.planes["gcs"] = {
        "read": False,
        "code": PlaneShrunk.code,
        "had": 9,
        "lacks": 5,
        "named": [],
    }


MADE: Mapping[Kind, Callable[[Sweep], object]] = {
    FindingKind.PLANE_SHRUNK: shrinks,
    FindingKind.ORPHAN: lambda sweep: RegisteredModelFactory.create(),
    FindingKind.STALE_POINTER: lambda sweep: registered(),
    FindingKind.ARTIFACTS_MISSING: lambda sweep: registered(),
    FindingKind.ARTIFACTS_CHANGED: lambda sweep: other_files(sweep, "a", "c"),
    FindingKind.ARTIFACTS_INCOMPLETE: lambda sweep: other_files(sweep, "a"),
    FindingKind.UNMANAGED: lambda sweep: listed(sweep, "somebodys-model"),
    FindingKind.VERSION_MISMATCH: lambda sweep: comes_back(sweep, Registration.LOST),
    FindingKind.SURPLUS_VERSION: lambda sweep: comes_back(sweep, Registration.DELETED),
    FindingKind.ARTIFACTS_LEFT: lambda sweep: left_files(),
    FindingKind.COUNTER_WRONG: lambda sweep: ModelCount.objects.create(
        project_id=1, serving="idle", n=1, versions=1
    ),
    FindingKind.LEFTOVER_SERVICE: lambda sweep: serving(sweep, "leftover"),
    FindingKind.SERVICE_MISSING: nothing_serves,
    FindingKind.SERVICE_MISMATCH: another_serves,
    FindingKind.SERVICE_CHANGED: another_image_serves,
    FindingKind.SERVING_UNVERIFIED: a_lost_version_serves,
    FindingKind.LABELS_CHANGED: without_labels,
    FindingKind.ALIAS_MOVED: lambda sweep: with_versions(sweep, aliases=["champion"]),
    FindingKind.VERSION_MISSING: without_version,
    FindingKind.MORE_VERSIONS: lambda sweep: with_versions(sweep, "2"),
    FindingKind.SERVICE_LABELS_CHANGED: lambda sweep: another_serves(sweep, owner=""),
    FindingKind.VERTEX_ENDPOINT_UNREGISTERED: lambda sweep: at_vertex_endpoint(sweep, "2"),
    FindingKind.SCHEDULE_MISSING: lambda sweep: scheduled(sweep, listed=False),
    FindingKind.SCHEDULE_PAUSED: lambda sweep: scheduled(sweep, state="paused"),
    FindingKind.SCHEDULE_CHANGED: lambda sweep: scheduled(sweep, schedule="0 0 1 1 *"),
    FindingKind.SCHEDULE_OVERDUE: lambda sweep: scheduled(sweep, due=True),
    FindingKind.JOB_MISSING: lambda sweep: set_up(sweep, listed=False),
    FindingKind.JOB_PAUSED: lambda sweep: set_up(sweep, state="paused"),
    FindingKind.JOB_CHANGED: lambda sweep: set_up(sweep, uri="https://elsewhere.example.com/"),
}
"""What disagrees when a kind is found."""


@pytest.mark.django_db
@EACH_KIND
def test_its_comparison_finds_it(kind: Kind, settings: Any):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "https://ml.example.com/",
        "WEBHOOK_SERVICE_ACCOUNTS": ("ringer@demo-project.iam.gserviceaccount.com",),
    }
    sweep = Sweep.objects.create(
        actor_label="ana", planes={name: {"read": True} for name in PLANES}
    )
    sweep.refresh_from_db()
    MADE[kind](sweep)
    reading = Reading(
        sweep=sweep,
        now=database_now(),
        unstored=dict.fromkeys(PLANES, ()),
        heartbeat=lambda: None,
    )
    for found, left_out in import_string(kind.facts.comparison)(reading):
        assert write_findings(reading=reading, found=found, left_out=left_out) == []
    assert list(Finding.objects.values_list("kind", flat=True)) == [kind]


@EACH_KIND
def test_it_has_words_a_tone_a_plane_and_a_right(kind: Kind):
    facts = kind.facts
    assert facts.label
    assert facts.meaning.endswith(".")
    assert all("{n}" in note for note in facts.note)
    assert facts.tone in ICONS
    assert facts.plane in {"", *PLANES}
    assert isinstance(facts.right, Right)


@EACH_REPAIR
def test_its_repair_can_be_opened(kind: Kind):
    for repair in kind.facts.repairs:
        assert repair.button
        opens = inspect.signature(repair.load(), eval_str=True)
        assert list(opens.parameters) == ["finding", "registered_model", "actor", "now"]
    assert len({repair.slug for repair in kind.facts.repairs}) == len(kind.facts.repairs)


@EACH_KIND
def test_it_is_safe_to_repair_only_with_a_repair_and_a_record(kind: Kind):
    repair = kind.facts.repair
    told = {repair.needs_evidence: "gs://b/runs/1/"} if repair and repair.needs_evidence else {}
    finding = partial(Finding, kind=kind, evidence=told)
    assert is_safe(finding(run_id=1)) is (repair is not None and not repair.needs_model)
    assert is_safe(finding(registered_model_id=1, run_id=1)) is (repair is not None)
    without_run = is_safe(finding(registered_model_id=1))
    assert without_run is (repair is not None and not repair.needs_run)
    untold = is_safe(Finding(kind=kind, registered_model_id=1, run_id=1))
    assert untold is (repair is not None and not repair.needs_evidence)


@pytest.mark.django_db
def test_findings_come_worst_first_and_unknown_kinds_last():
    kinds = [*KINDS, "of_a_newer_release"]
    for kind in reversed(kinds):
        Finding.objects.create(kind=kind, first_seen_at=LONG_AGO, last_seen_at=LONG_AGO)
    shown = Finding.objects.order_by(worst_first()).values_list("kind", flat=True)
    assert list(shown) == [str(kind) for kind in kinds]
    tones = [kind.facts.tone for kind in KINDS]
    assert tones == sorted(tones, key=["bad", "warn", "quiet"].index)


def documented(kind: str, facts: Facts) -> str:
    plane = "any plane" if facts.is_alarm else PLANE_NAMES.get(facts.plane, "our records")
    places = {True: "Google Cloud", False: "our records"}
    told = [f"{one.button} ({places[one.changes_production]})" for one in facts.repairs]
    none = "adopt, delete or leave" if facts.needs_choice else "none"
    none = "confirm, or wait" if facts.is_alarm else none
    repair = " or ".join(told) or none
    return f"| `{kind}` | {plane} | {facts.meaning} | {repair} |"


def test_the_documentation_has_this_table():
    page = (DOCS / "architecture.md").read_text().partition("## Findings and their repairs")[2]
    rows = re.findall(r"^\| `\w+` \|.*$", page.partition("\n## ")[0], re.M)
    assert rows == [documented(kind, kind.facts) for kind in KINDS]


def test_a_new_kind_needs_no_migration():
    assert not Finding._meta.get_field("kind").choices
