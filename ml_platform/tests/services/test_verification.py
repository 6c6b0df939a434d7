"""Verification: three answers, absent only where Google itself said so, and no call too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import vertex
from ml_platform.cloud.answers import Absent, Present, Unknown
from ml_platform.cloud.names import ModelName
from ml_platform.errors import Invalid
from ml_platform.models import TrainingRun
from ml_platform.services.registry.verification import (
    batch_verify_models_in_vertex_ai,
    verify_gcs_artifacts_exist,
    verify_model_in_vertex_ai,
)

from .world import BUCKET, Clock, a_lineage, a_run, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

NO_ANSWER = [
    ("PERMISSION_DENIED", "cloud_denied"),
    ("RESOURCE_EXHAUSTED", "cloud_throttled"),
    ("UNAVAILABLE", "cloud_unavailable"),
    ("DEADLINE_EXCEEDED", "cloud_unavailable"),
    ("CANCELLED", "cloud_unavailable"),
    ("INTERNAL", "cloud_unavailable"),
]


@pytest.fixture
def clock(cloud: LocalCloud, settings: Any) -> Clock:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0}
    return Clock()


def test_a_version_is_present_with_what_vertex_says_of_it(cloud: LocalCloud, clock: Clock) -> None:
    _, (_, run) = a_lineage(cloud, clock, versions=2)
    answer = verify_model_in_vertex_ai(run=run)
    assert isinstance(answer, Present)
    assert (answer.value.version, answer.value.labels["mlp_run"]) == ("2", run.uid.hex)
    asked = [call for call in cloud.effects.calls("ModelService.GetModel") if not call.reason]
    assert len(asked) == 1


def test_a_deleted_version_is_absent_though_its_siblings_are_there(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, runs = a_lineage(cloud, clock, versions=2)
    vertex.delete_model_version(ModelName.parse(runs[0].vertex_model_resource_name).at("1"))
    assert isinstance(verify_model_in_vertex_ai(run=runs[0]), Absent)
    assert isinstance(verify_model_in_vertex_ai(run=runs[1]), Present)


def test_a_version_without_our_label_is_unknown_and_says_which_label(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    name = ModelName.parse(run.vertex_model_resource_name).at("1")
    vertex.update_model_labels(name, {"mlp_owner": "tests", "mlp_run": "another"})
    answer = verify_model_in_vertex_ai(run=run)
    assert isinstance(answer, Unknown)
    assert "the label mlp_run is 'another'" in answer.reason


@pytest.mark.parametrize(("code", "ours"), NO_ANSWER)
def test_no_answer_is_unknown_for_all_three(
    cloud: LocalCloud, clock: Clock, code: str, ours: str
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    for method in ("ModelService.*", "storage.*"):
        cloud.faults.order(method=method, kind="error", code=code, times=None)
    model = verify_model_in_vertex_ai(run=run)
    listed = batch_verify_models_in_vertex_ai()
    objects = verify_gcs_artifacts_exist(run=run)
    for answer in (model, listed, objects):
        assert isinstance(answer, Unknown)
        assert answer.reason != ""
    assert isinstance(model, Unknown)
    assert model.code == ours


def test_a_run_that_points_at_nothing_is_asked_about_nobody(
    cloud: LocalCloud, clock: Clock
) -> None:
    with pytest.raises(Invalid):
        verify_model_in_vertex_ai(run=a_run(cloud))
    assert cloud.effects.count("ModelService.*") == 0


def test_a_name_in_another_project_is_unknown_for_our_not_found_proves_nothing(
    cloud: LocalCloud, clock: Clock
) -> None:
    _, (run,) = a_lineage(cloud, clock)
    foreign = ModelName("elsewhere", "europe-central2", "mr-1")
    TrainingRun.objects.filter(pk=run.pk).update(vertex_model_resource_name=str(foreign))
    run.refresh_from_db()
    answer = verify_model_in_vertex_ai(run=run)
    assert isinstance(answer, Unknown)
    assert answer.code == "foreign_name"


# ---- artifacts ---------------------------------------------------------------------------------


def test_artifacts_are_present_as_the_newest_folder_by_one_listing(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud, versions=(9, 100, 20))
    write_artifact(cloud, run, "pushed_model/latest/saved_model.pb")
    answer = verify_gcs_artifacts_exist(run=run)
    assert answer == Present(f"{run.gcs_artifacts_path}pushed_model/100")
    assert cloud.effects.count("storage.*") - _writes(cloud) == 1


def _writes(cloud: LocalCloud) -> int:
    return cloud.effects.count("storage.objects.insert") + cloud.effects.count("storage.buckets.*")


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["metrics.json"],
        ["pushed_model/1/variables/v"],
        ["pushed_model/1/saved_model.pbtxt"],
        ["pushed_model/x/saved_model.pb"],
    ],
)
def test_artifacts_without_a_model_are_absent(
    cloud: LocalCloud, clock: Clock, names: list[str]
) -> None:
    run = a_run(cloud, versions=())
    a_run(cloud)  # another run's artifacts do not count
    for name in names:
        write_artifact(cloud, run, name)
    assert isinstance(verify_gcs_artifacts_exist(run=run), Absent)
    uri = f"{run.gcs_artifacts_path}pushed_model/1"
    assert isinstance(verify_gcs_artifacts_exist(run=run, artifact_uri=uri), Absent)


def test_a_named_folder_is_asked_about_by_one_listing_of_one_object(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_run(cloud, versions=(1, 2))
    uri = f"{run.gcs_artifacts_path}pushed_model/1"
    assert verify_gcs_artifacts_exist(run=run, artifact_uri=uri) == Present(uri)
    assert cloud.effects.count("storage.*") - _writes(cloud) == 1


def test_a_bucket_that_is_not_there_is_unknown(cloud: LocalCloud, clock: Clock) -> None:
    run = a_run(cloud)
    answer = verify_gcs_artifacts_exist(run=run, artifact_uri="gs://no-such-bucket/a/1")
    assert isinstance(answer, Unknown)
    assert BUCKET not in answer.reason


# ---- the whole registry ------------------------------------------------------------------------


def test_a_batch_lists_pages_and_asks_for_no_model_by_name(cloud: LocalCloud, clock: Clock) -> None:
    for number in range(205):
        cloud.models.seed(f"m-{number}", display_name="m")
    answer = batch_verify_models_in_vertex_ai()
    assert isinstance(answer, Present)
    assert set(answer.value) == {f"m-{number}" for number in range(205)}
    assert cloud.effects.count("ModelService.ListModels") == 3
    assert cloud.effects.count("ModelService.GetModel") == 0


def test_a_batch_whose_second_page_fails_is_unknown(cloud: LocalCloud, clock: Clock) -> None:
    for number in range(105):
        cloud.models.seed(f"m-{number}", display_name="m")
    cloud.faults.order(
        method="ModelService.ListModels", kind="error", code="PERMISSION_DENIED", nth=2
    )
    assert isinstance(batch_verify_models_in_vertex_ai(), Unknown)
