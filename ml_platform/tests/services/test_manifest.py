"""A version is its bytes: what the manifest finds, through sweeps and deploys (law 12)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import google_crc32c
import pytest

from ml_platform.cloud import storage, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import RemoteObject
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Manifest,
    MirroredArtifacts,
    RegisteredModel,
    Sweep,
    TrainingRun,
)
from ml_platform.models.registry.manifest import ManifestOrigin
from ml_platform.models.states import RegistryState
from ml_platform.services.artifacts import manifest as manifests
from ml_platform.services.artifacts.manifest import take_manifest
from ml_platform.services.findings.kinds import FindingKind, Kind
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.registration.register import register_run
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import ProjectFactory

from .between.harness import take_to
from .deploy_tools import A_WHILE, deploy, deployed, finish, service_of, services
from .world import ANA, BUCKET, Clock, a_run, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
MODEL, DATA, INDEX = "saved_model.pb", "variables/data", "variables/index"
FILES = {MODEL: b"graph", DATA: b"weights", INDEX: b"names"}


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(cloud.clock.now())


def folder_of(run: TrainingRun, number: int = 1) -> str:
    return f"{run.gcs_artifacts_path.removeprefix(f'gs://{BUCKET}/')}pushed_model/{number}/"


def fill(cloud: LocalCloud, folder: str) -> None:
    for name, content in FILES.items():
        cloud.storage.write(BUCKET, f"{folder}{name}", content)


def a_next_version(cloud: LocalCloud, clock: Clock, run: TrainingRun) -> TrainingRun:
    return a_version(cloud, clock, name=run.model_name, project=run.project)


def a_version(cloud: LocalCloud, clock: Clock, **fields: Any) -> TrainingRun:
    """A registered version with three files; the clock is past all doubt about new things."""
    run = a_run(cloud, **fields)
    fill(cloud, folder_of(run))
    register_run(run=run, actor=ANA, now=clock())
    settle(clock)
    clock.forward(A_WHILE)
    run.refresh_from_db()
    return run


def look(clock: Clock) -> Sweep:
    clock.forward(60)
    return sweep(actor=ANA, clock=clock)


def folders_of(run: TrainingRun) -> dict[str, Any]:
    """What the mirror has of the run's pushed models."""
    folders = MirroredArtifacts.objects.get(prefix=run.gcs_artifacts_path).folders
    return dict(folders or {})


def found() -> list[tuple[str, str]]:
    rows = Finding.objects.open().order_by("kind")
    return [(row.kind, row.evidence.get("files", "")) for row in rows]


def state(run: TrainingRun) -> str:
    return RegisteredModel.objects.get(training_runs=run).registry_state


def listed(prefix: str) -> list[RemoteObject]:
    return [item for page in storage.list_objects(BUCKET, prefix) for item in page]


def remove(name: str) -> None:
    storage.delete_objects(BUCKET, [(item.name, item.generation) for item in listed(name)])


Change = Callable[["LocalCloud", str], None]


def overwrite(cloud: LocalCloud, folder: str) -> None:
    cloud.storage.write(BUCKET, f"{folder}{MODEL}", b"GRAPH")


def truncate(cloud: LocalCloud, folder: str) -> None:
    cloud.storage.write(BUCKET, f"{folder}{DATA}", b"weig")


def delete(cloud: LocalCloud, folder: str) -> None:
    remove(f"{folder}{DATA}")
    remove(f"{folder}{INDEX}")


def add(cloud: LocalCloud, folder: str) -> None:
    cloud.storage.write(BUCKET, f"{folder}assets/new", b"")


def swap(cloud: LocalCloud, folder: str) -> None:
    cloud.storage.write(BUCKET, f"{folder}{DATA}", FILES[INDEX])
    cloud.storage.write(BUCKET, f"{folder}{INDEX}", FILES[DATA])


CHANGES = pytest.mark.parametrize(
    ("change", "kind", "files"),
    [
        (overwrite, FindingKind.ARTIFACTS_CHANGED, f"changed: {MODEL}"),
        (truncate, FindingKind.ARTIFACTS_CHANGED, f"changed: {DATA}"),
        (delete, FindingKind.ARTIFACTS_INCOMPLETE, f"missing: {DATA}, {INDEX}"),
        (add, FindingKind.ARTIFACTS_CHANGED, "added: assets/new"),
        (swap, FindingKind.ARTIFACTS_CHANGED, f"changed: {DATA}, {INDEX}"),
    ],
    ids=["overwrite", "truncate", "delete", "add", "swap"],
)


def test_a_registration_takes_the_manifest_and_labels_the_version_with_its_digest(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_version(cloud, clock)
    row = run.manifest
    assert (row.origin, row.file_count, row.total_bytes) == ("registration", 3, 17)
    assert [file[:2] for file in row.files or ()] == [[MODEL, 5], [DATA, 7], [INDEX, 5]]
    assert len(row.digest) == 40
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    assert vertex.get_model(name).labels["mlp_digest"] == row.digest


@pytest.mark.slow
@CHANGES
def test_the_next_sweep_finds_every_change_and_that_it_was_undone(
    cloud: LocalCloud, clock: Clock, change: Change, kind: Kind, files: str
) -> None:
    run = a_version(cloud, clock)
    look(clock)
    assert (found(), state(run)) == ([], RegistryState.VERIFIED)
    change(cloud, folder_of(run))
    look(clock)
    assert (found(), state(run)) == ([(kind, files)], RegistryState.CHANGED)
    remove(f"{folder_of(run)}assets/new")
    fill(cloud, folder_of(run))
    look(clock)
    assert (found(), state(run)) == ([], RegistryState.VERIFIED)


def test_the_same_bytes_written_again_are_no_finding(cloud: LocalCloud, clock: Clock) -> None:
    run = a_version(cloud, clock)
    fill(cloud, folder_of(run))
    look(clock)
    assert (found(), state(run)) == ([], RegistryState.VERIFIED)


def test_a_folder_that_lost_its_model_is_missing_and_not_verified(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_version(cloud, clock)
    fill(cloud, folder_of(run, 2))
    remove(f"{folder_of(run)}{MODEL}")
    look(clock)
    assert [kind for kind, _ in found()] == [FindingKind.ARTIFACTS_MISSING]
    assert state(run) == RegistryState.CHANGED


@pytest.mark.slow
@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED"])
def test_a_listing_that_fails_is_unknown_and_never_changed(
    cloud: LocalCloud, clock: Clock, settings: Any, code: str
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    run = a_version(cloud, clock)
    look(clock)
    overwrite(cloud, folder_of(run))
    cloud.faults.order("storage.objects.list", "error", code=code, times=None)
    assert look(clock).planes["gcs"]["read"] is False
    assert (found(), state(run)) == ([], RegistryState.VERIFIED)
    cloud.faults.clear()
    look(clock)
    cloud.faults.order("storage.objects.list", "error", code=code, times=None)
    look(clock)
    assert (len(found()), state(run)) == (1, RegistryState.CHANGED)


@pytest.mark.slow
def test_a_sweep_lists_the_pushed_models_whole_and_nothing_twice(
    cloud: LocalCloud, clock: Clock
) -> None:
    """2,100 files of three runs are three pages; a changed version costs no call more."""
    runs = [a_version(cloud, clock) for _ in range(3)]
    for run in runs:
        for n in range(697):
            cloud.storage.write(BUCKET, f"{folder_of(run)}assets/{n:04}", b"x")
        cloud.storage.write(BUCKET, f"{run.gcs_artifacts_path.split('/', 3)[3]}metrics.json", b"{}")
    cloud.effects.reset()
    look(clock)
    assert cloud.effects.count("storage.*") == cloud.effects.count("storage.objects.list") == 3
    models = RegisteredModel.objects.count()
    assert cloud.effects.count("ModelService.ListModelVersions") == models
    assert cloud.effects.count() == 7 + models  # one for each other plane
    names = ", ".join(f"assets/{n:04}" for n in range(5))
    wanted = (FindingKind.ARTIFACTS_CHANGED, f"added: {names} and 692 more")
    assert found() == [wanted] * 3
    mirrored = folders_of(runs[0])["1"]
    assert (mirrored["files"], mirrored["bytes"]) == (700, 17 + 697)


def test_the_digest_is_that_of_a_listing_of_the_folder_alone(
    cloud: LocalCloud, clock: Clock
) -> None:
    """Also of folders whose names and files look alike, and across pages."""
    run = a_version(cloud, clock)
    for number in (2, 10):
        fill(cloud, folder_of(run, number))
        cloud.storage.write(BUCKET, f"{folder_of(run, number)}pushed_model/1/x", b"%d" % number)
    look(clock)
    mirrored = folders_of(run)
    for name, seen in mirrored.items():
        taken = take_manifest(f"gs://{BUCKET}/{folder_of(run, int(name))}")
        assert (seen["digest"], seen["files"]) == (taken.digest, taken.count)
    assert set(mirrored) == {"1", "2", "10"}


@pytest.mark.slow
def test_an_older_version_gets_its_manifest_at_the_next_sweep_marked_so(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_version(cloud, clock)
    digest = run.manifest.digest
    Manifest.objects.all().delete()
    look(clock)
    row = Manifest.objects.get(run=run)
    assert (row.origin, row.digest, found()) == ("sweep", digest, [])
    overwrite(cloud, folder_of(run))
    look(clock)
    assert found() == [(FindingKind.ARTIFACTS_CHANGED, f"changed: {MODEL}")]
    assert "by a later sweep" in Finding.objects.get().evidence["manifest_taken"]


@pytest.mark.slow
def test_a_list_above_the_bound_is_not_kept_and_its_digest_still_finds_a_change(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "KEPT", 2)
    run = a_version(cloud, clock)
    assert (run.manifest.files, run.manifest.file_count) == (None, 3)
    look(clock)
    assert found() == []
    overwrite(cloud, folder_of(run))
    look(clock)
    assert found() == [(FindingKind.ARTIFACTS_CHANGED, "the digest of its files differs")]


def test_the_digest_is_documented(cloud: LocalCloud) -> None:
    """As somebody would compute it from a listing, in a few lines."""
    fill(cloud, "any/1/")
    rows = [[item.name.removeprefix("any/1/"), item.size, item.crc32c] for item in listed("any/1/")]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    expected = hashlib.sha256(lines.encode()).hexdigest()[:40]
    assert take_manifest(f"gs://{BUCKET}/any/1").digest == expected
    assert [row[2] for row in rows] == [crc32c_of(FILES[str(row[0])]) for row in rows]


def crc32c_of(content: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


# ---- deploy ------------------------------------------------------------------------------------


@CHANGES
def test_a_deploy_refuses_other_files_and_names_them(
    cloud: LocalCloud, clock: Clock, change: Change, kind: Kind, files: str
) -> None:
    run = a_version(cloud, clock)
    change(cloud, folder_of(run))
    operation = finish(deploy(run, clock), clock)
    assert (operation.status, operation.error_code) == ("failed", "artifacts_changed")
    assert operation.error.endswith(f"{files}.")
    assert services() == {}


def test_a_deploy_labels_service_and_revision_with_the_digest(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, [run] = deployed(cloud, clock)
    assert service_of(endpoint).labels["mlp_digest"] == run.manifest.digest


@CHANGES
@pytest.mark.parametrize("again", [False, True], ids=["first", "redeploy"])
def test_files_replaced_between_the_look_and_the_deploy_get_no_traffic(
    cloud: LocalCloud, clock: Clock, change: Change, kind: Kind, files: str, again: bool
) -> None:
    run = a_version(cloud, clock)
    before: dict[str, str] = {}
    if again:
        finish(deploy(run, clock), clock)
        clock.forward(A_WHILE)
        before = services()
        run = a_next_version(cloud, clock, run)
    operation = deploy(run, clock)
    take_to("upsert", operation, clock)
    change(cloud, folder_of(run))
    operation = finish(operation, clock)
    assert (operation.status, operation.error_code) == ("failed", "artifacts_changed")
    assert files in operation.error
    assert services() == before


@pytest.mark.parametrize("again", [False, True], ids=["first", "redeploy"])
def test_files_replaced_while_the_revision_starts_are_taken_back(
    cloud: LocalCloud, clock: Clock, again: bool
) -> None:
    run = a_version(cloud, clock)
    before: dict[str, str] = {}
    if again:
        finish(deploy(run, clock), clock)
        clock.forward(A_WHILE)
        before = services()
        run = a_next_version(cloud, clock, run)
    operation = deploy(run, clock)
    take_to("confirm", operation, clock)
    overwrite(cloud, folder_of(run))
    operation = finish(operation, clock)
    assert (operation.status, operation.error_code) == ("failed", "deploy_failed")
    assert f"changed: {MODEL}" in operation.error
    assert services() == before


def test_an_older_version_without_a_manifest_gets_it_at_its_deploy(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_version(cloud, clock)
    Manifest.objects.all().delete()
    assert finish(deploy(run, clock), clock).status == "succeeded"
    assert Manifest.objects.get().origin == "deploy"
    assert DeployedEndpoint.objects.get().run == run


# ---- adopted versions ----------------------------------------------------------------------------


def adopted(cloud: LocalCloud, clock: Clock) -> TrainingRun:
    cloud.storage.write(BUCKET, "theirs/1/model.joblib", b"trees")
    model = {"artifact_uri": f"gs://{BUCKET}/theirs/1"}
    name = cloud.models.seed("77", display_name="theirs", versions=[{"version": 1, **model}])
    adopt_model(
        resource_name=str(name),
        project=ProjectFactory(),
        model_name="theirs",
        actor=ANA,
        now=clock(),
    )
    settle(clock)
    clock.forward(A_WHILE)
    return TrainingRun.objects.get()


@pytest.mark.slow
def test_an_adoption_takes_the_manifest_and_a_sweep_lists_each_folder_once_a_day(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = adopted(cloud, clock)
    assert (run.manifest.origin, run.manifest.file_count) == ("adoption", 1)
    name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
    assert vertex.get_model(name).labels["mlp_digest"] == run.manifest.digest
    cloud.storage.write(BUCKET, "theirs/1/model.joblib", b"TREES")
    cloud.effects.reset()
    look(clock)
    assert (cloud.effects.count("storage.objects.list"), found()) == (1, [])
    clock.forward(86_400)
    look(clock)
    assert cloud.effects.count("storage.objects.list") == 3
    wanted = [(FindingKind.ARTIFACTS_CHANGED, "changed: model.joblib")]
    assert (found(), state(run)) == (wanted, RegistryState.CHANGED)
    look(clock)
    assert cloud.effects.count("storage.objects.list") == 4
    assert found() == wanted


def test_an_adopted_folder_that_cannot_be_listed_is_left_out_and_stays_as_it_was(
    cloud: LocalCloud, clock: Clock, settings: Any
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    run = adopted(cloud, clock)
    clock.forward(86_400)
    cloud.faults.order("storage.objects.list", code="PERMISSION_DENIED", nth=2)
    done = look(clock)
    assert done.planes["gcs"]["read"] is True
    assert [row["what"] for row in done.counts["left_out"]] == ["theirs v1"]
    assert (found(), state(run)) == ([], RegistryState.VERIFIED)


# ---- an upload that an earlier try made ----------------------------------------------------------


@pytest.mark.slow
def test_the_files_of_a_version_are_those_that_were_uploaded_not_those_of_the_retry(
    cloud: LocalCloud, clock: Clock
) -> None:
    """The answer to the upload is lost, the files change, and a retry takes their manifest."""
    run = a_run(cloud)
    fill(cloud, folder_of(run))
    operation = register_run(run=run, actor=ANA, now=clock())
    take_to("upload", operation, clock)
    uploaded = Manifest.objects.get(run=run).digest
    cloud.faults.order("ModelService.UploadModel", "lost")
    take_to("look_up", operation, clock)
    overwrite(cloud, folder_of(run))
    taken = take_manifest(f"gs://{BUCKET}/{folder_of(run)}")
    manifests.keep_manifest(run, taken, ManifestOrigin.REGISTRATION, clock())
    assert finish(operation, clock).status == "succeeded"
    assert Manifest.objects.get(run=run).digest == uploaded != taken.digest
    look(clock)
    assert found() == [(FindingKind.ARTIFACTS_CHANGED, "the digest of its files differs")]
