"""One local cloud for the session, emptied before each test, and Google's clients pointed at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import scheduler_v1, storage
from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.cloud.aiplatform_v1.services.prediction_service import PredictionServiceClient
from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient
from google.oauth2.credentials import Credentials

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.core.access.callers import access_token
from ml_platform.tests.localcloud.scheduler_tools import START, Hook

from .gcs_ways import BUCKET, patched

PARENT = "projects/demo-project/locations/europe-central2"
ROBOT = "robot@demo-project.iam.gserviceaccount.com"
NUMBERED = "projects/123456789012/locations/europe-central2"


@pytest.fixture(scope="session")
def local_cloud() -> Iterator[LocalCloud]:
    """A running cloud on free ports."""
    with LocalCloud() as cloud:
        yield cloud


@pytest.fixture
def cloud(local_cloud: LocalCloud) -> LocalCloud:
    """The same cloud, as new."""
    local_cloud.reset()
    return local_cloud


@pytest.fixture(scope="session")
def channel(local_cloud: LocalCloud) -> Iterator[grpc.Channel]:
    """An insecure channel to the gRPC port, shared by all clients."""
    with grpc.insecure_channel(local_cloud.grpc_target) as channel:
        yield channel


@pytest.fixture(scope="session")
def client_of(channel: grpc.Channel) -> Callable[[Any], Any]:
    """`client_of(run_v2.ServicesClient)`: any GAPIC client on that channel."""
    return lambda cls: cls(transport=cls.get_transport_class("grpc")(channel=channel))


@pytest.fixture
def models(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> ModelServiceClient:
    """Google's ModelService client; the cloud is as new."""
    client: ModelServiceClient = client_of(ModelServiceClient)
    return client


@pytest.fixture
def endpoints(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> EndpointServiceClient:
    """Google's EndpointService client; the cloud is as new."""
    client: EndpointServiceClient = client_of(EndpointServiceClient)
    return client


@pytest.fixture
def pipelines(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> PipelineServiceClient:
    """Google's PipelineService client; the cloud is as new."""
    client: PipelineServiceClient = client_of(PipelineServiceClient)
    return client


@pytest.fixture
def predictions(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> PredictionServiceClient:
    """Google's PredictionService client; the cloud is as new."""
    client: PredictionServiceClient = client_of(PredictionServiceClient)
    return client


@pytest.fixture
def schedules(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> ScheduleServiceClient:
    """Google's ScheduleService client; the cloud is as new."""
    client: ScheduleServiceClient = client_of(ScheduleServiceClient)
    return client


@pytest.fixture
def gcs(cloud: LocalCloud) -> Iterator[storage.Client]:
    """Google's storage client; the cloud is as new."""
    options = ClientOptions(api_endpoint=cloud.http_url)
    client = storage.Client("demo-project", AnonymousCredentials(), client_options=options)
    yield client
    client.close()


@pytest.fixture
def call(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> Callable[..., Any]:
    """`call(client class, method, request)` as the robot account."""

    def call(cls: Any, method: str, request: dict[str, Any]) -> Any:
        return getattr(client_of(cls), method)(
            request=request, metadata=[("authorization", f"Bearer {access_token(ROBOT)}")]
        )

    return call


@pytest.fixture
def robot_gcs(cloud: LocalCloud) -> Iterator[Any]:
    """Google's storage client with an access token of the robot account."""
    yield from gcs_as(cloud, ROBOT)


def gcs_as(cloud: LocalCloud, email: str) -> Iterator[Any]:
    """A storage client with an account's token."""
    options = ClientOptions(api_endpoint=cloud.http_url)
    client = storage.Client(
        "demo-project", Credentials(access_token(email)), client_options=options
    )
    yield client
    client.close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Somebody to ring."""
    hook = Hook()
    yield hook
    hook.close()


@pytest.fixture
def jobs(cloud: LocalCloud, client_of: Callable[[Any], Any]) -> scheduler_v1.CloudSchedulerClient:
    """Google's scheduler client; the cloud is as new and its clock stands at START."""
    cloud.clock.freeze()
    cloud.clock.set(START)
    client: scheduler_v1.CloudSchedulerClient = client_of(scheduler_v1.CloudSchedulerClient)
    return client


@pytest.fixture
def bucket(gcs: storage.Client) -> storage.Bucket:
    """A bucket as Google makes it: soft delete for seven days, no versioning."""
    return gcs.create_bucket(BUCKET)


@pytest.fixture
def versions(bucket: storage.Bucket) -> storage.Bucket:
    """The same with versioning."""
    return patched(bucket, versioning={"enabled": True})
