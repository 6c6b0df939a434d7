"""Two projects and two locations in one cloud: the same names in each, and none sees the others."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import monitoring_v3, resourcemanager_v3, run_v2, scheduler_v1, storage
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.cloud.location import locations_pb2

from ml_platform.localcloud import LocalCloud, Unusable
from ml_platform.localcloud import __main__ as program

PROJECTS = {"demo-project": 123456789012, "other-project": 987654321098}
LOCATIONS = ("europe-central2", "us-central1")
PLACES = [(project, location) for project in PROJECTS for location in LOCATIONS]
SPEC = {"root": {"dag": {"tasks": {"train": {"taskInfo": {"name": "train"}}}}}}


class World:
    """A cloud with four places, and Google's clients for it."""

    def __init__(self, cloud: LocalCloud, channel: grpc.Channel) -> None:
        self.cloud, self._channel = cloud, channel

    def client(self, cls: Any) -> Any:
        """A GAPIC client."""
        return cls(transport=cls.get_transport_class("grpc")(channel=self._channel))

    def gcs(self, project: str) -> Any:
        """A storage client of a project."""
        options = ClientOptions(api_endpoint=self.cloud.http_url)
        return storage.Client(project, AnonymousCredentials(), client_options=options)


@contextmanager
def world_of(**options: Any) -> Iterator[World]:
    """Start one."""
    more = {"projects": {"other-project": 987654321098}, "locations": ["us-central1"]}
    with (
        LocalCloud(**(more | options)) as cloud,
        grpc.insecure_channel(cloud.grpc_target) as channel,
    ):
        yield World(cloud, channel)


@pytest.fixture
def world() -> Iterator[World]:
    """A fresh cloud with two projects and two locations."""
    with world_of() as world:
        yield world


def parent_of(project: object, location: str) -> str:
    """`projects/P/locations/L`."""
    return f"projects/{project}/locations/{location}"


def job(uri: str = "http://127.0.0.1:1/") -> dict[str, Any]:
    """A Scheduler job without a name."""
    return {"schedule": "0 4 * * *", "http_target": {"uri": uri}}


def fill(world: World) -> None:
    """One resource of each kind, with the same ids, in every place."""
    for project, location in PLACES:
        parent = parent_of(project, location)
        name = f"{project} {location}"
        world.client(ModelServiceClient).upload_model(
            request={"parent": parent, "model_id": "ranker", "model": {"display_name": name}}
        ).result()
        world.client(EndpointServiceClient).create_endpoint(
            request={"parent": parent, "endpoint_id": "7", "endpoint": {"display_name": name}}
        ).result()
        world.client(PipelineServiceClient).create_pipeline_job(
            parent=parent,
            pipeline_job={
                "display_name": name,
                "pipeline_spec": SPEC,
                "runtime_config": {"gcs_output_directory": f"gs://{project}-{location}/runs"},
            },
            pipeline_job_id="train",
        )
        world.client(run_v2.ServicesClient).create_service(
            parent=parent,
            service={"template": {"containers": [{"image": "img"}]}, "description": name},
            service_id="serve",
        ).result()
        world.client(scheduler_v1.CloudSchedulerClient).create_job(
            parent=parent, job=job() | {"name": f"{parent}/jobs/nightly", "description": name}
        )


def listed(world: World, parent: str) -> dict[str, list[Any]]:
    """What each list of a place has."""
    services = world.client(run_v2.ServicesClient)
    revisions = world.client(run_v2.RevisionsClient)
    return {
        "models": list(world.client(ModelServiceClient).list_models(parent=parent)),
        "endpoints": list(world.client(EndpointServiceClient).list_endpoints(parent=parent)),
        "pipelineJobs": list(world.client(PipelineServiceClient).list_pipeline_jobs(parent=parent)),
        "services": list(services.list_services(parent=parent)),
        "revisions": list(revisions.list_revisions(parent=f"{parent}/services/-")),
        "jobs": list(world.client(scheduler_v1.CloudSchedulerClient).list_jobs(parent=parent)),
    }


def test_the_same_ids_are_kept_apart_and_survive_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "cloud.sqlite3"
    with world_of(state=state) as world:
        fill(world)
        world.cloud.clock.advance(60)
    with world_of(state=state) as world:
        for project, location in PLACES:
            for form in (project, PROJECTS[project]):
                found = listed(world, parent_of(form, location))
                assert {len(items) for items in found.values()} == {1}
                vertex, other = parent_of(PROJECTS[project], location), parent_of(project, location)
                expected = {
                    "models": f"{vertex}/models/ranker",
                    "endpoints": f"{vertex}/endpoints/7",
                    "pipelineJobs": f"{vertex}/pipelineJobs/train",
                    "services": f"{other}/services/serve",
                    "jobs": f"{other}/jobs/nightly",
                }
                assert {kind: found[kind][0].name for kind in expected} == expected
                title = f"{project} {location}"
                assert found["models"][0].display_name == title
                assert found["services"][0].description == title
                assert found["jobs"][0].description == title
                assert found["pipelineJobs"][0].state.name == "PIPELINE_STATE_SUCCEEDED"
                assert f".{location}.run.app" in found["services"][0].uri
                assert str(PROJECTS[project]) in found["services"][0].urls[0]
                assert str(PROJECTS[project]) in found["services"][0].creator
            bucket = world.gcs(project).bucket(f"{project}-{location}")
            assert bucket.blob("runs/metrics.json").exists()


def test_what_is_deleted_in_one_place_stays_in_the_others(world: World) -> None:
    fill(world)
    gone = parent_of("other-project", "us-central1")
    world.client(ModelServiceClient).delete_model(name=f"{gone}/models/ranker").result()
    world.client(run_v2.ServicesClient).delete_service(name=f"{gone}/services/serve").result()
    world.client(scheduler_v1.CloudSchedulerClient).delete_job(name=f"{gone}/jobs/nightly")
    world.client(EndpointServiceClient).delete_endpoint(name=f"{gone}/endpoints/7").result()
    for project, location in PLACES:
        parent = parent_of(project, location)
        left = {kind: len(items) for kind, items in listed(world, parent).items()}
        there = int(parent != gone)
        assert left == dict.fromkeys(left, there) | {"pipelineJobs": 1}


def test_late_operations_land_in_their_own_place(tmp_path: Path) -> None:
    state, parent = tmp_path / "cloud.sqlite3", parent_of("other-project", "us-central1")
    request = {"parent": parent, "model_id": "late", "model": {"display_name": "late"}}
    with world_of(state=state, lro_seconds=30) as world:
        begun = world.client(ModelServiceClient).upload_model(request=request)
        service = world.client(run_v2.ServicesClient).create_service(
            parent=parent,
            service={"template": {"containers": [{"image": "img"}]}},
            service_id="serve",
        )
    with world_of(state=state, lro_seconds=30) as world:
        world.cloud.clock.advance(31)
        models = world.client(ModelServiceClient)
        done = models.get_operation({"name": begun.operation.name})
        assert done.done
        assert done.name.startswith(f"{parent_of(987654321098, 'us-central1')}/models/late/")
        assert models.get_model(name=f"{parent}/models/late").display_name == "late"
        assert len(listed(world, parent)["services"]) == 1
        for project, location in PLACES[:3]:
            assert not list(models.list_models(parent=parent_of(project, location)))
        listed_operations = models.list_operations({"name": parent}).operations
        assert service.operation.name in [one.name for one in listed_operations]
        assert not models.list_operations({"name": parent_of(*PLACES[0])}).operations


def test_a_resource_of_another_place_is_refused(world: World) -> None:
    fill(world)
    here, there = parent_of(*PLACES[0]), parent_of(*PLACES[1])
    with pytest.raises(exceptions.InvalidArgument, match="is not in projects/demo-project"):
        world.client(EndpointServiceClient).deploy_model(
            endpoint=f"{here}/endpoints/7", deployed_model={"model": f"{there}/models/ranker"}
        )
    with pytest.raises(exceptions.InvalidArgument):
        world.client(PipelineServiceClient).batch_delete_pipeline_jobs(
            parent=here, names=[f"{there}/pipelineJobs/train"]
        )


@pytest.mark.parametrize("location", ["asia-east1", "-"])
def test_a_location_that_was_not_declared_is_invalid_and_none_is_a_wildcard(
    world: World, location: str
) -> None:
    for project in PROJECTS:
        parent = parent_of(project, location)
        for cls, method in (
            (ModelServiceClient, "list_models"),
            (EndpointServiceClient, "list_endpoints"),
            (PipelineServiceClient, "list_pipeline_jobs"),
            (run_v2.ServicesClient, "list_services"),
            (scheduler_v1.CloudSchedulerClient, "list_jobs"),
        ):
            with pytest.raises(exceptions.InvalidArgument):
                getattr(world.client(cls), method)(parent=parent)


def test_a_project_that_was_not_declared_is_denied(world: World) -> None:
    parent = parent_of("third-project", "us-central1")
    with pytest.raises(exceptions.PermissionDenied, match="third-project"):
        world.client(ModelServiceClient).list_models(parent=parent)
    with pytest.raises(exceptions.Forbidden):
        list(world.gcs("third-project").list_buckets())


def test_buckets_belong_to_a_project_and_their_names_are_everyones(world: World) -> None:
    ours, theirs = world.gcs("demo-project"), world.gcs("other-project")
    ours.create_bucket("ours")
    made = theirs.create_bucket("theirs")
    assert made.project_number == PROJECTS["other-project"]
    assert [bucket.name for bucket in ours.list_buckets()] == ["ours"]
    assert [bucket.name for bucket in theirs.list_buckets()] == ["theirs"]
    assert [bucket.name for bucket in world.gcs("987654321098").list_buckets()] == ["theirs"]
    assert ours.get_bucket("theirs").project_number == PROJECTS["other-project"]
    with pytest.raises(exceptions.Conflict, match="name is not available"):
        ours.create_bucket("theirs")
    with pytest.raises(exceptions.Conflict, match="you already own it"):
        theirs.create_bucket("theirs")


def test_each_project_and_location_has_its_own_quota() -> None:
    with world_of(quotas=True) as world:
        world.cloud.clock.freeze()
        models = world.client(ModelServiceClient)
        for project, location in PLACES:
            name = f"{parent_of(project, location)}/models/none"
            for _ in range(60):
                with pytest.raises(exceptions.NotFound):
                    models.delete_model(name=name)
            with pytest.raises(exceptions.ResourceExhausted):
                models.delete_model(name=name)


def test_time_series_are_a_project_s_from_all_its_locations(world: World) -> None:
    for project, location in PLACES:
        with world.cloud.at(project, location):
            world.cloud.monitoring.seed("serve", date(2026, 3, 1), requests=24)
    client = world.client(monitoring_v3.MetricServiceClient)
    interval = monitoring_v3.TimeInterval(
        start_time=datetime(2026, 3, 1, tzinfo=UTC), end_time=datetime(2026, 3, 2, tzinfo=UTC)
    )
    found = list(
        client.list_time_series(
            request={
                "name": "projects/other-project",
                "filter": 'metric.type = "run.googleapis.com/request_count"',
                "interval": interval,
            }
        )
    )
    labels = [one.resource.labels for one in found]
    assert {label["project_id"] for label in labels} == {"other-project"}
    assert [label["location"] for label in labels] == list(LOCATIONS)


def test_get_project_answers_each_by_id_and_number(world: World) -> None:
    client = world.client(resourcemanager_v3.ProjectsClient)
    for project, number in PROJECTS.items():
        for form in (project, number):
            found = client.get_project(name=f"projects/{form}")
            assert (found.project_id, found.name) == (project, f"projects/{number}")


@pytest.mark.parametrize("cls", [ModelServiceClient, scheduler_v1.CloudSchedulerClient])
def test_locations_are_listed_by_the_clients_that_offer_it(world: World, cls: Any) -> None:
    client = world.client(cls)
    request = locations_pb2.ListLocationsRequest(name="projects/987654321098")
    found = client.list_locations(request).locations
    assert [one.location_id for one in found] == list(LOCATIONS)
    assert found[1].name == "projects/other-project/locations/us-central1"
    assert client.get_location({"name": found[1].name}) == found[1]
    with pytest.raises(exceptions.InvalidArgument):
        client.get_location({"name": "projects/other-project/locations/asia-east1"})
    with pytest.raises(exceptions.PermissionDenied):
        client.list_locations({"name": "projects/third-project"})
    with pytest.raises(exceptions.MethodNotImplemented):
        client.list_locations({"name": "projects/other-project", "filter": "x"})


@pytest.mark.parametrize(
    "options",
    [
        {"projects": {"X": 5}},
        {"projects": {"other-project": 0}},
        {"projects": {"other-project": "987"}},
        {"projects": {"other-project": 123456789012}},
        {"projects": {"demo-project": 5}},
        {"locations": ["nowhere"]},
        {"locations": [7]},
    ],
)
def test_a_place_that_cannot_be_is_unusable(options: dict[str, Any]) -> None:
    with pytest.raises(Unusable):
        LocalCloud(**options)


def test_the_control_api_declares_places_and_seeds_in_them(tmp_path: Path) -> None:
    state = tmp_path / "cloud.sqlite3"
    only = {"projects": {}, "locations": [], "state": state}
    with world_of(**only) as world:
        api = control(world.cloud)
        assert api("/places", {"projects": {"other-project": 987654321098}}).status_code == 200
        answer = api("/places", {"locations": ["us-central1"]}).json()
        assert answer == {"projects": PROJECTS, "locations": list(LOCATIONS)}
        where = "?project=other-project&location=us-central1"
        seeded = api(f"/seed/model{where}", {"model_id": "ranker", "display_name": "r"}).json()
        assert seeded["name"].startswith(parent_of(987654321098, "us-central1"))
        assert api("/seed/model?project=third-project", {}).status_code == 400
        assert api("/places", {"locations": ["nowhere"]}).status_code == 400
    with world_of(**only) as world:
        assert len(listed(world, parent_of("other-project", "us-central1"))["models"]) == 1
        state_now = requests.get(f"{world.cloud.http_url}/_localcloud/state", timeout=10).json()
        assert state_now["projects"] == PROJECTS
        (model,) = state_now["models"]
        assert (model["project"], model["location"]) == ("other-project", "us-central1")
        page = requests.get(world.cloud.http_url, timeout=10).text
        assert "<code>other-project/us-central1</code>" in page
        world.cloud.reset()
        assert world.cloud.core.names.projects == {"demo-project": 123456789012}


def test_the_program_takes_more_places(capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--more-projects", "other-project=987654321098", "--more-locations", "us-central1"]
    options = program.parser().parse_args([*more, "--port", "0"])
    assert options.more_projects == {"other-project": 987654321098}
    assert options.more_locations == ["us-central1"]
    with pytest.raises(SystemExit):
        program.main(["--more-projects", "other-project"])
    assert "is not id=number" in capsys.readouterr().err


def test_a_state_file_in_another_form_is_refused_and_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "cloud.sqlite3"
    with sqlite3.connect(state) as db:
        db.execute("CREATE TABLE resource (seq INTEGER PRIMARY KEY, kind TEXT)")
    before = state.read_bytes()
    with pytest.raises(Unusable, match="no state file of this release"):
        LocalCloud(state=state)
    assert program.main(["--state", str(state), "--port", "0"]) == 2
    assert state.read_bytes() == before


def control(cloud: LocalCloud) -> Callable[[str, dict[str, Any]], requests.Response]:
    """POST to the control API."""
    return lambda path, body: requests.post(
        f"{cloud.http_url}/_localcloud{path}", json=body, timeout=10
    )
