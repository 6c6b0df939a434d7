"""What Cloud Run refuses, in its words and codes; each source is named where it is checked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.rpc import error_details_pb2

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT

NAME = f"{PARENT}/services/ranker"
IMAGE = "gcr.io/demo/serve:1"
LATEST, PINNED = (
    run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST,
    run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION,
)
TAG = {"type_": LATEST, "percent": 50}
GEN2 = run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2


@pytest.fixture
def services(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> run_v2.ServicesClient:
    """Google's Services client; the cloud is as new."""
    client: run_v2.ServicesClient = client_of(run_v2.ServicesClient)
    return client


def container(**more: Any) -> dict[str, Any]:
    """A container as a client asks for it."""
    return {"image": IMAGE, **more}


def limits(idle: bool = True, **amounts: str) -> dict[str, Any]:
    """A container with these resources."""
    return container(resources={"limits": amounts, "cpu_idle": idle})


def service(*, first: dict[str, Any] | None = None, **template: Any) -> run_v2.Service:
    """A service with this container and template."""
    return run_v2.Service(template={"containers": [first or container()], **template})


def create(services: run_v2.ServicesClient, asked: run_v2.Service) -> run_v2.Service:
    """Create `ranker`."""
    made: run_v2.Service = services.create_service(
        parent=PARENT, service=asked, service_id="ranker"
    ).result()
    return made


QUOTED = {
    # hashicorp/terraform-provider-google#6491
    "a revision of another name": (
        service(revision="other-1"),
        "The revision name must be prefixed by the name of the enclosing Service or Configuration "
        "with a trailing -",
    ),
    # goblet/goblet#287
    "more at least than at most": (
        service(scaling={"min_instance_count": 2, "max_instance_count": 1}),
        "Violation in CreateServiceRequest.service.template.scaling.max_instance_count: must be "
        "greater or equal than min_instance_count.",
    ),
    "more at least than the default of 100": (
        service(scaling={"min_instance_count": 101}),
        "must be greater or equal than min_instance_count.",
    ),
    # hashicorp/terraform-provider-google#26877
    "an env name of the system": (
        service(first=container(env=[{"name": "PORT", "value": "1"}])),
        "template.containers[0].env: The following reserved env names were provided: PORT. These "
        "values are automatically set by the system.",
    ),
    # google/osv.dev#2800
    "too much memory for its cpu": (
        service(first=limits(cpu="1", memory="8Gi")),
        "Invalid value specified for container memory. For 1.0 CPU, memory must be between 128Mi "
        "and 4Gi inclusive.",
    ),
    # MarkEdmondson1234/googleCloudRunner#137
    "too little memory for gen2": (
        service(first=limits(memory="256Mi"), execution_environment=GEN2),
        "Invalid value specified for memory with gen2 execution environment. For 1.0 CPU, memory "
        "must be between 512Mi and 4Gi inclusive.",
    ),
    # ko-build/terraform-provider-ko#205
    "an image of another registry": (
        service(first=container(image="ghcr.io/demo/serve:1")),
        "Expected an image path like [host/]repo-path[:tag and/or @digest], where host is one of "
        "[region.]gcr.io, [region-]docker.pkg.dev or docker.io but obtained ghcr.io/demo/serve:1",
    ),
}


@pytest.mark.parametrize("name", QUOTED)
def test_a_refusal_has_the_words_of_cloud_run(services: run_v2.ServicesClient, name: str) -> None:
    asked, words = QUOTED[name]
    with pytest.raises(exceptions.InvalidArgument) as caught:
        create(services, asked)
    assert words in caught.value.message
    (detail,) = caught.value.details
    (violation,) = detail.field_violations
    assert isinstance(detail, error_details_pb2.BadRequest)
    assert caught.value.message == f"{violation.field}: {violation.description}"
    assert list(services.list_services(parent=PARENT)) == []


REFUSED = {
    "no container": run_v2.Service(),
    "no image": service(first={"image": ""}),
    "an image in upper case": service(first=container(image="demo/Serve")),
    "an image without a path": service(first=container(image="gcr.io/")),
    "two containers without a port": run_v2.Service(
        template={"containers": [container(), container(image="demo/sidecar")]}
    ),
    "an env name twice": service(first=container(env=[{"name": "A"}, {"name": "A"}])),
    "an env name with =": service(first=container(env=[{"name": "A=B"}])),
    "an empty env name": service(first=container(env=[{"name": ""}])),
    "a port out of range": service(first=container(ports=[{"container_port": 65536}])),
    "a port of another protocol": service(
        first=container(ports=[{"name": "udp", "container_port": 80}])
    ),
    "memory that is no quantity": service(first=limits(memory="banana")),
    "memory below the least": service(first=limits(memory="64Mi")),
    "4 cpus with too little memory": service(first=limits(cpu="4", memory="1Gi")),
    "3 cpus": service(first=limits(cpu="3")),
    "16 cpus": service(first=limits(cpu="16", memory="32Gi")),
    "a cpu that is no quantity": service(first=limits(cpu="many")),
    "a cpu in finer steps": service(first=limits(cpu="0.1234")),
    "half a cpu with concurrency": service(
        first=limits(cpu="0.5"), max_instance_request_concurrency=2
    ),
    "half a cpu that is always allocated": service(first=limits(idle=False, cpu="500m")),
    "half a cpu on gen2": service(first=limits(cpu="0.5"), execution_environment=GEN2),
    "a resource of another name": service(first=limits(disk="1Gi")),
    "concurrency above 1000": service(max_instance_request_concurrency=1001),
    "negative concurrency": service(max_instance_request_concurrency=-1),
    "a timeout above an hour": service(timeout={"seconds": 3601}),
    "a negative timeout": service(timeout={"seconds": -1}),
    "negative instances": service(scaling={"min_instance_count": -1}),
    "a malformed revision name": service(revision="ranker-A"),
    "a long revision name": service(revision="ranker-" + "x" * 57),
    "a label in upper case": run_v2.Service(service(), labels={"Team": "a"}),
    "a label's value in upper case": run_v2.Service(service(), labels={"team": "A"}),
    "a label that begins with a digit": run_v2.Service(service(), labels={"1st": "a"}),
    "a long label": run_v2.Service(service(), labels={"x" * 64: "a"}),
    "a long value": run_v2.Service(service(), labels={"a": "x" * 64}),
    "65 labels": run_v2.Service(service(), labels={f"l{n}": "" for n in range(65)}),
    "a label of the template": service(labels={"Team": "a"}),
    "a label of the system": run_v2.Service(service(), labels={"run.googleapis.com/x": "1"}),
    "an annotation of the system": service(annotations={"serving.knative.dev/creator": "me"}),
    "a long description": run_v2.Service(service(), description="x" * 513),
    "percents below 100": run_v2.Service(service(), traffic=[TAG]),
    "a negative percent": run_v2.Service(
        service(), traffic=[{"type_": LATEST, "percent": 101}, {"type_": LATEST, "percent": -1}]
    ),
    "a tag twice": run_v2.Service(service(), traffic=[{**TAG, "tag": "a"}, {**TAG, "tag": "a"}]),
    "a tag in upper case": run_v2.Service(service(), traffic=[{**TAG, "tag": "A"}, TAG]),
    "a tag too long for a host": run_v2.Service(service(), traffic=[{**TAG, "tag": "a" * 55}, TAG]),
    "traffic of no type": run_v2.Service(service(), traffic=[{"percent": 100}]),
    "traffic to a revision without a name": run_v2.Service(
        service(), traffic=[{"type_": PINNED, "percent": 100}]
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cloud_run_does_not_take_is_refused_on_the_call(
    services: run_v2.ServicesClient, name: str
) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        create(services, REFUSED[name])
    made = create(services, service())
    asked = run_v2.Service(REFUSED[name], name=made.name)
    with pytest.raises(exceptions.InvalidArgument):
        services.update_service(service=asked)
    assert services.get_service(name=NAME) == made


TAKEN = {
    "docker hub": service(first=container(image="tensorflow/serving:2.19")),
    "a digest": service(first=container(image=f"europe-docker.pkg.dev/p/r/i:1@sha256:{'0' * 64}")),
    "the bounds": service(max_instance_request_concurrency=1000, timeout={"seconds": 3600}),
    "100 instances": service(scaling={"min_instance_count": 100}),
    "8 cpus": service(first=limits(cpu="8", memory="32Gi")),
    "millicpus": service(first=limits(cpu="4000m", memory="2048Mi")),
    "decimal units": service(first=limits(memory="512M")),
    "half a cpu": service(first=limits(cpu=".5", memory="1Gi")),
    "international labels": run_v2.Service(service(), labels={"żółw_1": "日本-2", "empty": ""}),
    "a revision name": service(revision="ranker-blue"),
    "a sidecar": run_v2.Service(
        template={"containers": [container(ports=[{"container_port": 80}]), container()]}
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_cloud_run_takes_is_taken(services: run_v2.ServicesClient, name: str) -> None:
    assert create(services, TAKEN[name]).terminal_condition.state.name == "CONDITION_SUCCEEDED"


def test_less_than_one_cpu_takes_one_request_at_a_time(services: run_v2.ServicesClient) -> None:
    """Concurrency "defaults to 1 when requested CPU < 1" (RevisionTemplate)."""
    made = create(services, service(first=limits(cpu="0.5")))
    assert made.template.max_instance_request_concurrency == 1


def test_what_cannot_be_honored_is_unimplemented(services: run_v2.ServicesClient) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="iap_enabled"):
        create(services, run_v2.Service(service(), iap_enabled=True))


def test_a_large_page_is_cut_and_a_negative_one_refused_in_its_words(
    services: run_v2.ServicesClient,
) -> None:
    create(services, service())
    asked = {"parent": PARENT, "page_size": 5000}
    assert [one.name for one in services.list_services(request=asked)] == [NAME]
    with pytest.raises(exceptions.InvalidArgument, match=r"ListServicesRequest\.page_size"):
        services.list_services(request={**asked, "page_size": -1})
    with pytest.raises(exceptions.InvalidArgument, match=r"ListServicesRequest\.page_token"):
        services.list_services(request={**asked, "page_token": "nonsense"})


@pytest.mark.parametrize(
    ("role", "member"),
    [
        # hashicorp/terraform-provider-google#5151
        ("roles/run.invoker", "deleted:serviceAccount:a@b.iam.gserviceaccount.com?uid=1"),
        ("roles/run.invoker", "ana@example.com"),
        ("roles/run.invoker", "user:ana"),
        ("roles/run.invoker", "robot:ana@example.com"),
        ("roles/run.invoker", "allusers"),
        ("run.invoker", "allUsers"),
        ("", "allUsers"),
    ],
)
def test_a_malformed_binding_is_refused(
    services: run_v2.ServicesClient, role: str, member: str
) -> None:
    create(services, service())
    policy = policy_pb2.Policy(bindings=[{"role": role, "members": ["domain:b.com", member]}])
    asked = iam_policy_pb2.SetIamPolicyRequest(resource=NAME, policy=policy)
    with pytest.raises(exceptions.InvalidArgument):
        services.set_iam_policy(request=asked)
    read = iam_policy_pb2.GetIamPolicyRequest(resource=NAME)
    assert not services.get_iam_policy(request=read).bindings
