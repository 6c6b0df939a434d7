"""Files that somebody uses stay, whoever deletes; a version without our labels is not gone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from google.cloud import run_v2

from ml_platform.cloud import cloud_run, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.run_messages import read_texts
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import ServiceSpec
from ml_platform.models import (
    AwaitingRemoval,
    DeployedEndpoint,
    EndpointTraffic,
    Operation,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.states import Registration
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.cleanup.state import ArtifactCleanup
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.plan import DeployedModel
from ml_platform.services.deletion.preview import preview_deletion
from ml_platform.services.operations.engine import advance
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.registration.register import register_run
from ml_platform.services.removal.references import Pointer, names_of, read_pointers
from ml_platform.services.removal.removal import remove_waiting
from ml_platform.services.repairs.pointers import clear_stale_pointers
from ml_platform.services.workflows import WORKFLOWS
from ml_platform.tests.factories import ProjectFactory, TrainingRunFactory

from .deploy_tools import deployed, finish, undeploy
from .people import edit_service
from .world import ANA, BUCKET, Clock, a_lineage, a_run, artifacts, settle, write_artifact

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
READS = ("ModelService.ListModels", "ModelService.ListModelVersions", "Services.ListServices")


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    """Eight days after everything in Cloud Storage was written."""
    return Clock(now=cloud.clock.now() + timedelta(days=8))


def old_run(cloud: LocalCloud, **fields: Any) -> TrainingRun:
    run: TrainingRun = TrainingRunFactory.create(**({"failed": True} | fields))
    write_artifact(cloud, run, "pushed_model/1/saved_model.pb")
    return run


def clean(clock: Clock, **options: Any) -> ArtifactCleanup:
    return clean_up_artifacts(**{"days": 7, "actor": ANA, "clock": clock, **options})


def delete(clock: Clock, lineage: RegisteredModel, *runs: TrainingRun) -> Operation:
    operation = delete_versions(lineage=lineage, runs=runs, actor=ANA, now=clock())
    return finish(operation, clock)


def pushed(run: TrainingRun) -> str:
    return f"{run.gcs_artifacts_path}pushed_model/1"


def pointer_of(run: TrainingRun) -> ModelName:
    return ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)


# ---- the daily cleanup ---------------------------------------------------------------------------


def test_the_files_of_a_pushed_model_that_was_uploaded_by_hand_and_adopted_stay(
    cloud: LocalCloud, clock: Clock
) -> None:
    run, unused = old_run(cloud), old_run(cloud)
    name = cloud.models.seed("4711", display_name="by-hand", artifact_uri=pushed(run))
    project = ProjectFactory()
    adopt_model(resource_name=name, project=project, model_name="mine", actor=ANA, now=clock())
    settle(clock)
    lines: list[str] = []
    result = clean(clock, write_line=lines.append)
    assert (result.runs, result.kept) == (1, 1)
    assert [len(artifacts(cloud, each)) for each in (run, unused)] == [1, 0]
    assert any("Kept" in line and "model 4711@1 in Vertex AI" in line for line in lines)
    run.refresh_from_db()
    assert run.gcs_artifacts_path.endswith(f"{run.uid.hex}/")  # the mark is taken back
    vertex.delete_model(ModelName.parse(name).bare)
    assert clean(clock).kept == 1  # what was adopted is never ours to delete
    assert len(artifacts(cloud, run)) == 1


@pytest.mark.slow
def test_the_files_of_an_upload_whose_answer_was_lost_stay(cloud: LocalCloud, clock: Clock) -> None:
    """Its registration failed, for Vertex AI may not be looked at; the model is adopted later."""
    run = a_run(cloud, created_at=clock() - timedelta(days=30), finished_at=None)
    cloud.faults.order("ModelService.UploadModel", "lost", code="UNAVAILABLE")
    register_run(run=run, actor=ANA, now=clock())
    operation = Operation.objects.get()
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock)
    for method in ("ModelService.GetModel", "ModelService.ListModelVersions"):
        cloud.faults.order(method, "error", code="PERMISSION_DENIED", times=None)
    settle(clock)
    operation.refresh_from_db()
    run.refresh_from_db()
    assert (operation.status, run.registration) == ("failed", Registration.NONE)
    cloud.faults.clear()
    (model,) = [model for page in vertex.list_models() for model in page]
    clock.forward(8 * 86_400)
    assert clean(clock).runs == 0
    adopt_model(
        resource_name=str(model.name),
        project=run.project,
        model_name="rescued",
        actor=ANA,
        now=clock(),
    )
    settle(clock)
    assert clean(clock).runs == 0
    assert len(artifacts(cloud, run)) == 1


@pytest.mark.parametrize("registration", [Registration.NONE, Registration.DELETED])
@pytest.mark.parametrize("labelled", [True, False])
def test_the_files_of_a_version_that_our_restored_rows_do_not_know_stay(
    cloud: LocalCloud, clock: Clock, registration: Registration, labelled: bool
) -> None:
    run = old_run(cloud, registration=registration)
    labels = labels_for(run=run.uid) if labelled else {}
    versions = ({"version": 1, "artifact_uri": pushed(run), "labels": labels}, {"version": 2})
    cloud.models.seed("restored", display_name="restored", versions=versions)
    result = clean(clock)
    assert (result.runs, result.kept, len(artifacts(cloud, run))) == (0, 1, 1)


def told(where: str) -> dict[str, Any]:
    return {"env": {"MODEL": where}}


@pytest.mark.parametrize(
    "spec",
    [
        lambda run: told(pushed(run)),
        lambda run: told(f'{{"model": "{pushed(run)}"}}'),
        lambda run: told(f"/gcs/{BUCKET}/runs/{run.uid.hex}/pushed_model"),
        lambda run: told(f"https://storage.googleapis.com/{BUCKET}/runs/{run.uid.hex}/x"),
        lambda run: told(f"runs/{run.uid.hex}/pushed_model/1"),
        lambda run: told(f"gs://{BUCKET}/runs/"),
        lambda run: {"args": (f"--model={pushed(run)}", "--port=1")},
    ],
)
def test_the_files_that_a_service_is_told_of_stay(
    cloud: LocalCloud, clock: Clock, spec: Callable[[TrainingRun], dict[str, Any]]
) -> None:
    run = old_run(cloud)
    cloud_run.create_service("theirs", ServiceSpec(image="image", labels={}, **spec(run)))
    lines: list[str] = []
    result = clean(clock, write_line=lines.append)
    assert (result.kept, len(artifacts(cloud, run))) == (1, 1)
    assert "service theirs on Cloud Run" in lines[0]


def mounted(service: Any, folder: str) -> None:
    options = [f"only-dir={folder}"] if folder else []
    gcs = {"bucket": BUCKET, "mount_options": options}
    service.template.volumes = [{"name": "models", "gcs": gcs}]


def annotated(service: Any, folder: str) -> None:
    service.template.annotations["model"] = f"gs://{BUCKET}/{folder}"


def second_container(service: Any, folder: str) -> None:
    env = [{"name": "MODEL", "value": f"gs://{BUCKET}/{folder}"}]
    service.template.containers.append({"image": "sidecar", "env": env})


@pytest.mark.parametrize("change", [mounted, annotated, second_container])
@pytest.mark.parametrize("whole", [True, False])
def test_a_service_reads_what_it_mounts_and_what_any_part_of_it_is_told(
    change: Callable[[Any, str], None], whole: bool
) -> None:
    service = run_v2.Service(template={"containers": [{"image": "image"}]})
    change(service, "" if whole else "runs/abc")
    (text,) = read_texts(service.template)
    assert text == f"gs://{BUCKET}/{'' if whole else 'runs/abc'}"


def test_the_files_of_an_older_revision_that_gets_requests_stay(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = old_run(cloud)
    cloud_run.create_service("theirs", ServiceSpec(image="image", labels={}, **told(pushed(run))))
    first = cloud_run.get_service("theirs").latest_ready_revision
    edit_service("theirs", lambda service: pin(service, first))
    service = cloud_run.get_service("theirs")
    assert service.env == {"MODEL": "elsewhere"}
    assert service.serving == (first,)
    assert clean(clock).kept == 1
    assert len(artifacts(cloud, run)) == 1


def pin(service: Any, revision: str) -> None:
    service.template.containers[0].env[0].value = "elsewhere"
    kind = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
    service.traffic = [{"type_": kind, "revision": revision, "percent": 100}]


@pytest.mark.parametrize("method", [*READS, "Revisions.GetRevision"])
def test_who_points_there_is_not_known_so_everything_stays(
    cloud: LocalCloud, clock: Clock, method: str
) -> None:
    runs = [old_run(cloud) for _ in range(2)]
    cloud.models.seed("any", display_name="any")
    cloud_run.create_service("any", ServiceSpec(image="image", labels={}, **told("x")))
    first = cloud_run.get_service("any").latest_ready_revision
    edit_service("any", lambda service: pin(service, first))
    cloud.faults.order(method, "error", code="PERMISSION_DENIED", times=None)
    lines: list[str] = []
    result = clean(clock, write_line=lines.append)
    assert (result.runs, result.kept) == (0, 2)
    assert [len(artifacts(cloud, run)) for run in runs] == [1, 1]
    assert all("what uses it is unknown" in line for line in lines)
    assert cloud.effects.count("storage.objects.delete") == 0


@pytest.mark.slow
def test_one_reading_answers_for_all_runs(cloud: LocalCloud, clock: Clock) -> None:
    runs = [old_run(cloud) for _ in range(30)]
    for number in range(3):
        cloud.models.seed(f"m-{number}", display_name="m", versions=(1, 2))
    assert clean(clock, dry_run=True).runs == 30
    assert [cloud.effects.count(method) for method in READS] == [1, 3, 1]
    assert clean(clock).runs == 30
    assert [cloud.effects.count(method) for method in READS] == [2, 6, 2]
    assert [len(artifacts(cloud, run)) for run in runs] == [0] * 30


def test_who_came_while_a_cleanup_was_held_up_is_asked_after_before_it_goes_on(
    cloud: LocalCloud, clock: Clock
) -> None:
    runs = [old_run(cloud) for _ in range(2)]
    cloud.faults.order("storage.objects.delete", "error", code="UNAVAILABLE")
    clean(clock)
    cloud.models.seed("late", display_name="late", artifact_uri=pushed(runs[1]))
    settle(clock)
    assert [len(artifacts(cloud, run)) for run in runs] == [0, 1]
    assert Operation.objects.get().status == "succeeded"


# ---- the deletion of a version -------------------------------------------------------------------


@pytest.mark.slow
def test_a_version_goes_and_its_files_stay_where_another_model_uses_them(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    cloud.models.seed("4711", display_name="theirs", artifact_uri=pushed(runs[0]))
    plan = preview_deletion(lineage=lineage, runs=runs)
    assert [v.used_by for v in plan.versions] == ["model 4711@1 in Vertex AI", ""]
    assert (plan.size.objects, plan.blocks) == (1, ())
    operation = delete(clock, lineage, *runs)
    assert operation.status == "succeeded"
    assert [len(artifacts(cloud, run)) for run in runs] == [1, 0]
    assert operation.steps[-1]["note"] == (
        "1 object, 5 bytes; kept the artifacts of chern v1, used by model 4711@1 in Vertex AI"
    )
    assert set(TrainingRun.objects.values_list("registration", flat=True)) == {"deleted"}
    vertex.delete_model(ModelName.parse(operation_model("4711")))
    assert AwaitingRemoval.objects.get().reason == "used by model 4711@1 in Vertex AI"
    remove_waiting(actor=ANA, clock=clock)  # nobody uses them any more
    assert artifacts(cloud, runs[0]) == []
    assert not AwaitingRemoval.objects.exists()


def operation_model(model_id: str) -> str:
    return f"{channels.location_path()}/models/{model_id}"


def test_another_project_is_not_named(cloud: LocalCloud, clock: Clock) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    _, (other,) = a_lineage(cloud, clock, name="secret")
    labels = labels_for(run=other.uid)
    cloud.models.seed("secret", display_name="secret", artifact_uri=pushed(run), labels=labels)
    (version,) = preview_deletion(lineage=lineage, runs=[run]).versions
    assert version.used_by == "a model of another project"
    assert "secret" not in delete(clock, lineage, run).steps[-1]["note"]


def test_files_are_kept_while_who_uses_them_is_unknown(cloud: LocalCloud, clock: Clock) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    cloud.faults.order("ModelService.ListModels", "error", code="PERMISSION_DENIED", times=None)
    assert [u.partition(":")[0] for u in preview_deletion(lineage=lineage, runs=[run]).unknown] == [
        "Users of the artifacts"
    ]
    operation = delete(clock, lineage, run)
    assert (operation.status, operation.error_code) == ("failed", "cloud_denied")
    assert len(artifacts(cloud, run)) == 1
    cloud.faults.clear()
    retry_operation(operation=operation, actor=ANA)
    assert finish(operation, clock).status == "succeeded"
    assert artifacts(cloud, run) == []


def test_a_version_that_was_restored_before_the_retry_keeps_its_files(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    pointer, uri = pointer_of(run), pushed(run)
    cloud.faults.order("storage.objects.delete", "error", code="UNAVAILABLE")
    delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())
    operation = Operation.objects.get(kind="delete")
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock)
    labels = labels_for(run=run.uid)
    cloud.models.seed(pointer.model_id, display_name="m", artifact_uri=uri, labels=labels)
    assert finish(operation, clock).status == "succeeded"
    assert len(artifacts(cloud, run)) == 1


# ---- what is there without our labels ------------------------------------------------------------


def taken_away(labels: dict[str, str]) -> dict[str, str]:
    return {}


def other_owner(labels: dict[str, str]) -> dict[str, str]:
    return labels | {"mlp_owner": "somebody"}


def other_run(labels: dict[str, str]) -> dict[str, str]:
    return labels | {"mlp_run": "0" * 32}


CHANGES = [
    (taken_away, "the label mlp_owner is missing; expected is 'tests'"),
    (other_owner, "the label mlp_owner is 'somebody'; expected is 'tests'"),
    (other_run, f"the label mlp_run is '{'0' * 32}'; expected is"),
]


def relabel(run: TrainingRun, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    pointer = pointer_of(run)
    vertex.update_model_labels(pointer, change(dict(vertex.get_model(pointer).labels)))


def rows() -> list[dict[str, Any]]:
    return [dict(row) for row in TrainingRun.objects.order_by("pk").values()]


@pytest.mark.slow
@pytest.mark.parametrize(("change", "said"), CHANGES)
@pytest.mark.parametrize("whole", [True, False])
def test_a_version_without_our_labels_is_not_deleted_and_nothing_is_touched(
    cloud: LocalCloud, clock: Clock, change: Any, said: str, whole: bool
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=3)
    relabel(runs[0], change)
    before, mutations = rows(), len(cloud.effects.mutations())
    doomed = runs if whole else runs[:1]
    (block,) = preview_deletion(lineage=lineage, runs=doomed).blocks
    assert (block.error.code, said in block.error.words) == ("foreign_version", True)
    operation = delete(clock, lineage, *doomed)
    assert (operation.status, operation.error_code) == ("failed", "foreign_version")
    assert said in operation.error
    assert "Nothing was changed" in operation.advice
    assert strip(rows()) == strip(before)
    assert len(cloud.effects.mutations()) == mutations
    vertex.update_model_labels(pointer_of(runs[0]), labels_for(run=runs[0].uid))
    retry_operation(operation=operation, actor=ANA)
    assert finish(operation, clock).status == "succeeded"


def strip(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "updated_at"} for row in found]


def test_under_another_installations_name_nothing_is_deleted(
    cloud: LocalCloud, clock: Clock, settings: Any
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "INSTALLATION": "copy"}
    mutations = len(cloud.effects.mutations())
    operation = delete(clock, lineage, *runs)
    assert "the label mlp_owner is 'tests'; expected is 'copy'" in operation.error
    assert len(cloud.effects.mutations()) == mutations


def test_a_label_that_was_taken_away_after_the_first_try_is_seen_by_the_next_look(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run, _) = a_lineage(cloud, clock, versions=2)
    cloud.faults.order("ModelService.DeleteModelVersion", "error", code="UNAVAILABLE")
    delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())
    operation = Operation.objects.get(kind="delete")
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock)
    relabel(run, taken_away)
    assert finish(operation, clock).error_code == "foreign_version"
    assert vertex.get_model(pointer_of(run)).labels == {}
    assert len(artifacts(cloud, run)) == 1


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_a_lost_version_that_is_there_without_our_labels_keeps_its_files(
    cloud: LocalCloud, clock: Clock, change: Any, said: str
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    relabel(run, change)
    TrainingRun.objects.update(
        registration=Registration.LOST,
        last_vertex_version=str(pointer_of(run)),
        vertex_model_resource_name="",
        vertex_model_name="",
        vertex_model_version="",
        registered_at=None,
        created_at=clock() - timedelta(days=30),
        finished_at=None,
    )
    run.refresh_from_db()
    lines: list[str] = []
    result = clean(clock, include_registered=True, write_line=lines.append)
    assert (result.runs, result.kept) == (0, 1)
    assert said in lines[0]
    assert delete(clock, lineage, run).error_code == "foreign_version"
    assert len(artifacts(cloud, run)) == 1


def test_a_version_whose_run_label_was_changed_is_not_recorded_as_lost(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, (run,) = a_lineage(cloud, clock)
    relabel(run, other_run)
    clock.forward(600)
    operation = clear_stale_pointers(registered_model=lineage, actor=ANA, now=clock())
    assert finish(operation, clock).status == "succeeded"
    run.refresh_from_db()
    assert run.registration == Registration.REGISTERED


def test_the_undeploy_of_a_service_whose_labels_were_taken_away_is_refused(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock)
    edit_service(endpoint.service_name, lambda service: service.labels.clear())
    operation = finish(undeploy(endpoint, clock), clock)
    assert (operation.status, operation.error_code) == ("failed", "foreign_service")
    assert "the label mlp_owner is missing; expected is 'tests'" in operation.error
    endpoint = DeployedEndpoint.objects.get()
    assert (endpoint.state, endpoint.is_active) == ("active", True)
    assert cloud.effects.count("Services.DeleteService") == 0


def test_a_version_is_served_although_the_labels_of_its_service_were_taken_away(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, (run,) = deployed(cloud, clock)
    edit_service(endpoint.service_name, lambda service: service.labels.clear())
    DeployedEndpoint.objects.update(is_active=False, state="inactive")
    lineage = RegisteredModel.objects.get()
    with pytest.raises(DeployedModel, match="has 100 % of the traffic"):
        delete(clock, lineage, run)
    EndpointTraffic.objects.all().delete()  # as before it was ever read
    assert delete(clock, lineage, run).error_code == "model_deployed"
    assert len(artifacts(cloud, run)) == 1


# ---- words ---------------------------------------------------------------------------------------


def test_the_first_users_are_named_and_the_others_counted() -> None:
    assert names_of(Pointer(who=name) for name in "edcba") == "a, b, c and 2 more"


def test_a_run_is_no_user_of_its_own_folder(cloud: LocalCloud) -> None:
    run = a_run(cloud)
    other = a_run(cloud, gcs_artifacts_path=f"{run.gcs_artifacts_path}deeper/")
    found = read_pointers().at(run.gcs_artifacts_path)
    assert [pointer.row for pointer in found] == [other.pk]
