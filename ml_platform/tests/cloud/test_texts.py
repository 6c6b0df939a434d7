"""Text that PostgreSQL cannot keep: Google may say it, and the window hands on what can be kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ml_platform.cloud import cloud_run, pipelines, scheduler, storage, types, vertex
from ml_platform.cloud.names import ModelName, ObjectPath, PipelineJobName
from ml_platform.cloud.raw import RemoteValue
from ml_platform.cloud.transport import channels
from ml_platform.cloud.transport.errors import from_status
from ml_platform.cloud.types import DeleteOutcome, JobSpec, ServiceSpec
from ml_platform.errors import CloudRejected, Invalid, PlatformError, storable
from ml_platform.tests.services.people import vertex_endpoint
from ml_platform.tests.soiled import soil_the_wire

BUCKET = "demo-artifacts"
MODEL = ModelName("demo-project", "europe-central2", "mr-1")
JOB = PipelineJobName("demo-project", "europe-central2", "run-1")
FROM_A_TOKEN = {types.Identity}
NO_TEXT = {types.Point, types.RemoteOperation}
"""Numbers alone; a name and an error."""


def told(revision: str) -> Iterator[Any]:
    """Everything that the window's reads hand on."""
    yield vertex.get_model(MODEL)
    yield [*vertex.list_models(), *vertex.list_model_versions(MODEL)]
    yield [*vertex.list_endpoints(), *vertex.list_evaluations(MODEL.at("1"))]
    yield vertex.update_model_labels(MODEL.at("1"), {"team": "red"})
    yield pipelines.get_pipeline_job(JOB)
    yield list(pipelines.list_pipeline_jobs())
    yield cloud_run.get_service("serving")
    yield list(cloud_run.list_services())
    yield cloud_run.get_revision("serving", revision)
    yield cloud_run.change_invokers("serving", add=())
    yield cloud_run.get_invokers("serving")
    yield scheduler.get_job("tick")
    yield storage.get_bucket(BUCKET)
    found = [item for page in storage.list_objects(BUCKET, "runs/") for item in page]
    yield found
    yield storage.delete_objects(BUCKET, [(found[0].name, 7)])


def texts(value: Any, seen: set[type]) -> Iterator[str]:
    """Each text of a value, whatever it is made of; `seen` learns the types of the window."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from texts([*value.keys(), *value.values()], seen)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from texts(item, seen)
    elif dataclasses.is_dataclass(value):
        seen.add(type(value))
        yield from texts([getattr(value, f.name) for f in dataclasses.fields(value)], seen)


def seed(cloud: Any) -> None:
    """One thing of each kind, with as many texts as it can have."""
    cloud.storage.write(BUCKET, "runs/1/saved_model.pb", b"model")
    cloud.models.seed("mr-1", display_name="chern", labels={"team": "red"}, artifact_uri="gs://b/x")
    spec = {"pipelineInfo": {"name": "chern"}, "root": {"dag": {"tasks": {"train": {}}}}}
    cloud.pipelines.outcome("fail:train")
    pipelines.create_pipeline_job(
        job_id="run-1",
        display_name="chern",
        spec=spec,
        parameters={},
        output_directory=f"gs://{BUCKET}/runs/1",
        labels={"mlp_run": "1"},
    )
    service = ServiceSpec(
        image="europe-docker.pkg.dev/serving:1", labels={"a": "b"}, env={"K": "v"}
    )
    cloud_run.create_service("serving", service)
    cloud.clock.advance(3600)
    cloud_run.change_invokers("serving", add=["allUsers"])
    scheduler.create_job(
        JobSpec(job_id="tick", schedule="0 3 * * *", uri="https://example.org/", audience="a",
                service_account="ringer@demo-project.iam.gserviceaccount.com", description="d")
    )  # fmt: skip


def test_every_text_that_leaves_the_window_can_be_kept(cloud, monkeypatch):
    seed(cloud)
    revision = cloud_run.get_service("serving").latest_created_revision
    channels.client("ModelService").import_model_evaluation(
        parent=str(MODEL), model_evaluation={"metrics": {"accuracy": 0.9}}
    )
    soil_the_wire(monkeypatch)
    seen: set[type] = set()
    with vertex_endpoint(cloud, str(MODEL.at("1"))):
        heard = [text for value in told(revision) for text in texts(value, seen)]
    assert [text for text in heard if text != storable(text)] == []
    assert sum("\ufffd" in text for text in heard) > 40, "the wire was dirty"
    known = {
        kind
        for kind in vars(types).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind)
        if kind.__module__ == types.__name__
    }
    assert known - seen == FROM_A_TOKEN | NO_TEXT, "a new type has its place above"
    assert all(issubclass(kind, RemoteValue) for kind in known)


def test_an_address_is_never_altered():
    found = types.RemoteObject(name="a\0b\ud800", size=1, generation=1, updated=None)
    assert found.name == "a\0b\ud800"
    with pytest.raises(Invalid):
        ObjectPath(BUCKET, found.name)
    with pytest.raises(Invalid):
        ObjectPath.parse(f"gs://{BUCKET}/runs/\udc00/")


def test_an_object_is_deleted_by_the_very_name_it_has(cloud):
    for name in ("runs/1/a\0b", "runs/1/a\ufffdb"):
        cloud.storage.write(BUCKET, name, b"x")
    (odd, _), *_ = storage.list_objects(BUCKET, "runs/1/")
    (outcome,) = storage.delete_objects(BUCKET, [(odd.name, odd.generation)])
    assert outcome.outcome is DeleteOutcome.DELETED
    assert cloud.storage.names(BUCKET) == ["runs/1/a\ufffdb"]


def test_a_name_that_no_request_can_carry_keeps_nothing_else_from_going(cloud):
    generation = cloud.storage.write(BUCKET, "runs/1/a", b"x")
    given = [("runs/1/\ud800", 1), ("runs/1/a", generation)]
    outcomes = {o.name: o for o in storage.delete_objects(BUCKET, given)}
    assert outcomes["runs/1/a"].outcome is DeleteOutcome.DELETED
    assert outcomes["runs/1/\ud800"].outcome is DeleteOutcome.REFUSED
    assert "not valid Unicode" in outcomes["runs/1/\ud800"].reason


def test_what_google_says_of_a_failure_can_be_kept(cloud):
    cloud.faults.order("ModelService.GetModel", code="INVALID_ARGUMENT", message="bad \0 name")
    with pytest.raises(CloudRejected, match="bad \ufffd name"):
        vertex.get_model(MODEL)
    assert "\0" not in str(from_status("ModelService.UploadModel", 3, "a\0b"))
    error = PlatformError("a\0\ud800b", advice="c\udc00")
    assert (str(error), error.advice) == ("a\ufffd\ufffdb", "c\ufffd")


@pytest.mark.parametrize(("content", "text"), [(b"\xef\xbb\xbf{}", "{}"), ("ä😀".encode(), "ä😀")])
def test_a_text_is_read_without_its_byte_order_mark(cloud, content, text):
    cloud.storage.write(BUCKET, "a.json", content)
    assert storage.read_text(BUCKET, "a.json", limit_bytes=100) == text


@pytest.mark.parametrize("content", [b"a\0b", b"\xff\xfe{\0}\0", b"\xed\xa0\x80"])
def test_what_is_no_text_is_refused(cloud, content):
    cloud.storage.write(BUCKET, "a.json", content)
    with pytest.raises(CloudRejected, match="not UTF-8 text") as caught:
        storage.read_text(BUCKET, "a.json", limit_bytes=100)
    assert caught.value.code == "not_text"
