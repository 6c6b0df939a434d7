"""What belongs to no run: told apart from what is somebody's, deleted only when asked (law 8)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import Operation, RegisteredModel
from ml_platform.models.states import OperationStatus, RunStatus
from ml_platform.services.cleanup import strays
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.cleanup.state import ArtifactCleanup
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.registry import verification
from ml_platform.services.removal import references
from ml_platform.services.removal.references import EVERYTHING, name_below
from ml_platform.tests.factories import ProjectFactory, TrainingRunFactory

from .installations import MARKER
from .world import ANA, BUCKET, Clock, a_run, artifacts, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
ROOT = f"gs://{BUCKET}/runs"


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    """Eight days after everything in Cloud Storage was written."""
    return Clock(now=cloud.clock.now() + timedelta(days=8))


def clean(clock: Clock, **options: Any) -> ArtifactCleanup:
    return clean_up_artifacts(**{"days": 7, "actor": ANA, "clock": clock, **options})


def write(cloud: LocalCloud, *names: str) -> list[str]:
    for name in names:
        cloud.storage.write(BUCKET, name, b"x")
    return sorted(names)


def left(cloud: LocalCloud) -> list[str]:
    return [name for name in cloud.storage.names(BUCKET) if name != MARKER]


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (f"{ROOT}/abc/pushed_model/1", "abc"),
        (f"{ROOT}/abc", "abc"),
        (f"{ROOT}/abc/", "abc"),
        (f"{ROOT}10/abc", None),
        (f"gs://{BUCKET}x/runs/abc", None),
        (f"gs://{BUCKET}/run", None),
        ("", None),
        (ROOT, EVERYTHING),
        (f"gs://{BUCKET}", EVERYTHING),
        (f"gs://{BUCKET}/", EVERYTHING),
    ],
)
def test_an_address_lies_in_one_folder_below_the_root_in_all_or_in_none(uri: str, name: str | None):
    assert name_below(uri=uri, bucket=BUCKET, root="runs/") == name


def test_what_belongs_to_no_run_is_named_and_deleted_only_when_asked(
    cloud: LocalCloud, clock: Clock
):
    run = a_run(cloud, status=RunStatus.RUNNING)
    write(cloud, "runs/abc/a", f"runs/{'0' * 32}/b/c", "runs/loose.txt", "elsewhere/d")
    write(cloud, "runs/loose.txt2/e")
    strays = [f"{ROOT}/{'0' * 32}/", f"{ROOT}/abc/", f"{ROOT}/loose.txt2/", f"{ROOT}/loose.txt"]
    result = clean(clock)
    assert (sorted(result.strays), result.strays_deleted) == (sorted(strays), 0)
    assert cloud.effects.mutations("storage.*") == []
    result = clean(clock, delete_strays=True)
    assert (result.strays_found, result.strays_deleted) == (4, 4)
    assert left(cloud) == sorted(["elsewhere/d", *artifacts(cloud, run)])


def test_the_artifacts_of_an_adopted_model_stay_also_when_it_has_been_deleted(
    cloud: LocalCloud, clock: Clock
):
    """The adoption story: a model somebody made, whose files lie below our root."""
    kept = write(cloud, "runs/by-hand/model/1/saved_model.pb", "runs/by-hand/model/2/x")
    name = cloud.models.seed(
        "made-by-hand", display_name="made", artifact_uri=f"{ROOT}/by-hand/model/1"
    )
    adopt_model(
        resource_name=name, project=ProjectFactory(), model_name="made", actor=ANA, now=clock()
    )
    settle(clock)
    assert RegisteredModel.objects.registered().get().model_name == "made"
    assert clean(clock, delete_strays=True).strays_found == 0
    assert left(cloud) == kept
    vertex.delete_model(ModelName.parse(name).bare)
    assert list(vertex.list_models()) == [()]
    assert clean(clock, delete_strays=True).strays_found == 0
    assert left(cloud) == kept


def test_what_a_model_in_vertex_ai_has_stays_whosever_it_is(cloud: LocalCloud, clock: Clock):
    kept = write(cloud, "runs/nobody/a", "runs/second/a", "runs/theirs/a", "runs/path/a")
    cloud.models.seed("nobody", display_name="nobody", artifact_uri=f"{ROOT}/nobody")
    versions = ({"version": 1, "artifact_uri": f"{ROOT}/second/"}, {"version": 2})
    cloud.models.seed("older", display_name="older", versions=versions)
    cloud.models.seed(
        "theirs",
        display_name="theirs",
        labels={"mlp_owner": "another"},
        artifact_uri=f"{ROOT}/theirs/pushed_model/1",
    )
    TrainingRunFactory.create(failed=True, gcs_artifacts_path=f"{ROOT}/path/deeper/")
    write(cloud, "runs/stray/a")
    assert clean(clock, delete_strays=True).strays_deleted == 1
    assert left(cloud) == sorted(kept)


def test_a_model_at_the_root_itself_keeps_everything(cloud: LocalCloud, clock: Clock):
    kept = write(cloud, "runs/abc/a")
    cloud.models.seed("root", display_name="root", artifact_uri=ROOT)
    assert clean(clock, delete_strays=True).strays_found == 0
    assert left(cloud) == kept


@pytest.mark.parametrize("method", ["ModelService.ListModels", "ModelService.ListModelVersions"])
def test_when_vertex_ai_cannot_be_read_everything_stays_and_it_is_said(
    cloud: LocalCloud, clock: Clock, method: str
):
    kept = write(cloud, "runs/abc/a")
    cloud.models.seed("any", display_name="any")
    cloud.faults.order(method, "error", code="PERMISSION_DENIED", times=None)
    lines: list[str] = []
    result = clean(clock, delete_strays=True, write_line=lines.append)
    assert (left(cloud), result.strays_found) == (kept, 0)
    assert result.summary.endswith("; what belongs to no run is unknown")
    (line,) = lines
    assert line.startswith("Kept all that may belong to no run: ")
    assert result.operation
    assert result.operation.data["lines"] == lines


def test_what_is_young_stays(cloud: LocalCloud, clock: Clock):
    write(cloud, "runs/abc/old", "runs/old/a")
    cloud.clock.advance(5 * 86_400)
    kept = write(cloud, "runs/abc/young", "runs/loose")
    lines: list[str] = []
    result = clean(clock, delete_strays=True, write_line=lines.append)
    assert (result.strays_found, result.strays_deleted) == (3, 1)
    assert left(cloud) == sorted([*kept, "runs/abc/old"])
    assert any(line.startswith(f"Kept {ROOT}/abc/: runs/abc/young was written") for line in lines)


def test_a_worker_that_goes_on_looks_again_before_it_deletes(cloud: LocalCloud, clock: Clock):
    write(cloud, "runs/abc/a", "runs/def/a")
    cloud.faults.order("storage.objects.delete", "error", code="UNAVAILABLE")
    clean(clock, delete_strays=True)
    cloud.models.seed("late", display_name="late", artifact_uri=f"{ROOT}/abc/")
    settle(clock)
    assert left(cloud) == ["runs/abc/a"]
    operation = Operation.objects.get()
    assert operation.status == OperationStatus.SUCCEEDED
    assert operation.data["strays_deleted"] == 1


def test_of_many_the_first_are_named_and_all_are_counted(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(strays, "SHOWN", 2)
    write(cloud, *(f"runs/stray-{number}/a" for number in range(5)))
    lines: list[str] = []
    result = clean(clock, write_line=lines.append)
    assert "; 5 folder(s) of no run, 0 deleted" in result.summary
    assert lines[-1] == "… and 3 more that belong to no run."
    assert len(lines) == 3


def test_a_long_look_keeps_the_lease(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    """Each read takes a while; together they take longer than a lease."""
    write(cloud, "runs/abc/a")
    for number in range(9):
        cloud.models.seed(f"m-{number}", display_name="m")
    read = verification.read_versions

    def slow(name: Any) -> Any:
        clock.forward(20)
        return read(name)

    monkeypatch.setattr(references, "read_versions", slow)
    result = clean(clock, delete_strays=True)
    assert result.operation
    assert (result.operation.status, left(cloud)) == (OperationStatus.SUCCEEDED, [])
