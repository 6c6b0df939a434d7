"""The local cloud: an emulator of the Google APIs that we use, over the real protocols.

It depends on Google's protos but not on our app: any unmodified client can connect to it.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Mapping
from concurrent import futures
from pathlib import Path
from typing import Self

import grpc
from google.cloud.aiplatform_v1.services.endpoint_service.transports.grpc import (
    EndpointServiceGrpcTransport,
)
from google.cloud.aiplatform_v1.services.model_service.transports.grpc import (
    ModelServiceGrpcTransport,
)
from google.cloud.aiplatform_v1.services.pipeline_service.transports.grpc import (
    PipelineServiceGrpcTransport,
)
from google.cloud.aiplatform_v1.services.prediction_service.transports.grpc import (
    PredictionServiceGrpcTransport,
)
from google.cloud.aiplatform_v1.services.schedule_service.transports.grpc import (
    ScheduleServiceGrpcTransport,
)
from google.cloud.monitoring_v3.services.metric_service.transports.grpc import (
    MetricServiceGrpcTransport,
)
from google.cloud.resourcemanager_v3.services.projects.transports.grpc import (
    ProjectsGrpcTransport,
)
from google.cloud.run_v2.services.revisions.transports.grpc import RevisionsGrpcTransport
from google.cloud.run_v2.services.services.transports.grpc import ServicesGrpcTransport
from google.cloud.scheduler_v1.services.cloud_scheduler.transports.grpc import (
    CloudSchedulerGrpcTransport,
)

from .control.console import Console
from .control.control import Control
from .core.core import Core
from .core.errors import CloudError, PortBusy, Unusable
from .core.names import Location
from .gcs.calls.batch import Batch
from .gcs.storage import Storage
from .gcs.xml.api import XmlApi
from .monitoring.series import Monitoring
from .run.revisions import Revisions
from .run.services import CloudRun
from .run.serving import Serving
from .scheduler.jobs import CloudScheduler
from .server.http.port import HttpServer, Router
from .server.identity.key_files import KeyFiles
from .server.identity.metadata import Metadata
from .server.identity.oidc import Identity
from .server.loopback import ADDRESS
from .server.ports import bind_port, check_ports
from .server.rest.service import Rest
from .server.rpc.grpc_server import bind, bind_locations, bind_operations, wire
from .server.rpc.locations import Locations
from .server.rpc.projects import Projects
from .server.tls import http_context, make_certificate, server_credentials
from .vertex.endpoints.predictions import PredictionService
from .vertex.endpoints.service import EndpointService
from .vertex.models.service import ModelService
from .vertex.pipelines.service import PipelineService
from .vertex.schedules.service import ScheduleService

__all__ = ["CloudError", "LocalCloud", "PortBusy", "Unusable"]

_THREADS = 32
# Without SO_REUSEPORT off, two clouds could share a port and each answer half of the calls.
_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 64 << 20))


class LocalCloud:
    """One cloud with a default project and location; ports of 0 are free ones.

    `projects` (id to number) and `locations` are further ones: each project has all locations.
    `state` is a file in which everything survives a restart. `lro_seconds` is how long each
    long-running operation takes on the Clock. `quotas` switches Vertex's quotas on. `tls_port`
    opens the gRPC services over TLS too, for the high-level SDK (see `tls_ca_file`).

    Raises Unusable for an invalid project, location or port.
    """

    def __init__(
        self,
        *,
        project: str = "demo-project",
        project_number: int = 123456789012,
        location: str = "europe-central2",
        projects: Mapping[str, int] | None = None,
        locations: Iterable[str] = (),
        grpc_port: int = 0,
        http_port: int = 0,
        tls_port: int | None = None,
        state: Path | None = None,
        lro_seconds: float = 0.0,
        quotas: bool = False,
    ) -> None:
        check_ports(gRPC=grpc_port, HTTP=http_port, TLS=tls_port or 0)
        self.core = Core(
            project,
            project_number,
            location,
            projects=projects,
            locations=locations,
            state=state,
            lro_seconds=lro_seconds,
            quotas=quotas,
        )
        self.project, self.project_number, self.location = project, project_number, location
        self.clock, self.store = self.core.clock, self.core.store
        self.faults, self.effects = self.core.faults, self.core.effects
        self.iam = self.core.iam
        self.storage = Storage(self.core)
        self.models = ModelService(self.core, self.storage)
        self.endpoints = EndpointService(self.core)
        self.predictions = PredictionService(self.core, self.endpoints)
        self.pipelines = PipelineService(self.core, self.storage)
        self.schedules = ScheduleService(self.core, self.pipelines)
        self.identity, self._key_files = Identity(self.core), KeyFiles(self.core)
        self._projects = Projects(self.core)
        self.run, self._revisions = CloudRun(self.core), Revisions(self.core)
        self.scheduler = CloudScheduler(self.core, self.identity)
        self.monitoring = Monitoring(self.core)
        self.rest = Rest(self.core.gate)
        self.router = Router(self.core.gate, self.rest)
        self.batch = Batch(self.router.dispatch)
        self._route()
        self._handlers = self._wired()
        self._ports = grpc_port, http_port, tls_port
        self.grpc_port = self.http_port = self.tls_port = 0
        self._tls_dir: tempfile.TemporaryDirectory[str] | None = None
        self._server: grpc.Server | None = None
        self._http: HttpServer | None = None

    def _route(self) -> None:
        metadata = Metadata(self.core, self.identity)
        serving = Serving(self.core, self.identity, self.run, self._revisions)
        pages = (Control(self), Console(self), serving)
        for part in (self.storage, self.predictions, self.batch, self.identity, metadata, *pages):
            self.router.add(part.routes())
        public_keys = self._key_files.public_keys
        xml = XmlApi(self.router.dispatch, self.storage, public_keys, self.clock)
        self.router.otherwise = xml.answer

    def start(self) -> Self:
        """Listen. Raises PortBusy, after it has closed all ports, when one is taken."""
        try:
            self._listen()
        except PortBusy:
            self.stop()
            raise
        self.storage.rearm()
        for place in self.core.names.places:
            with self.core.names.at(place):
                self.core.operations.rearm()
                self.pipelines.rearm()
                self.schedules.rearm()
                self.scheduler.rearm()
        self.clock.start()
        return self

    def _listen(self) -> None:
        server = grpc.server(futures.ThreadPoolExecutor(_THREADS), options=_OPTIONS)
        self._server = server
        server.add_generic_rpc_handlers(self._handlers)
        wanted, http, tls = self._ports
        self.grpc_port = bind_port(server, wanted)
        key, certificate = make_certificate()
        if tls is not None:
            self._tls_dir = tempfile.TemporaryDirectory(prefix="localcloud-")
            self.tls_ca_file.write_bytes(certificate)
            self.tls_port = bind_port(server, tls, server_credentials(key, certificate))
        self._http = HttpServer(http, self.router.dispatch, self.clock)
        if self._tls_dir is not None:
            self._http.tls = http_context(key, certificate, self.tls_ca_file.parent)
        self.http_port, self._http.tls_port = self._http.port, self.tls_port
        self._http.begin()
        server.start()

    def stop(self) -> None:
        """End everything; hung calls are let go."""
        self.faults.clear()
        self.clock.stop()
        if self._http is not None:
            self._http.end()
        if self._server is not None:
            self._server.stop(grace=0.5).wait()
        if self._tls_dir is not None:
            self._tls_dir.cleanup()
        self.store.close()

    def reset(self) -> None:
        """As new: all state, faults, effects, timers and clock offset gone."""
        self.core.reset()
        self.storage.reset()
        self.models.reset()
        self.pipelines.reset()
        self.run.reset()
        self.scheduler.reset()

    def declare(
        self, projects: Mapping[str, int] | None = None, locations: Iterable[str] = ()
    ) -> None:
        """Further projects (id to number) and locations until `reset`; Unusable for bad ones."""
        self.core.declare(projects or {}, locations)

    def key_file(self, account: str) -> dict[str, str]:
        """A new key file (its JSON) of a service account, by its e-mail address.

        Signed URLs of that account must then be signed with a key that was made so.
        """
        return self._key_files.make(account, f"{self.http_url}/token")

    def at(self, project: str = "", location: str = "") -> contextlib.AbstractContextManager[None]:
        """Seed and read in that place instead of the default one, while the context lasts.

        Unusable for a place that was not declared.
        """
        names = self.core.names
        place = Location(project or names.default.project, location or names.default.location)
        if place not in names.places:
            raise Unusable(f"{place} is not declared.")
        return names.at(place)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def grpc_target(self) -> str:
        """The target for `grpc.insecure_channel`."""
        return f"{ADDRESS}:{self.grpc_port}"

    @property
    def http_url(self) -> str:
        """The value for `STORAGE_EMULATOR_HOST`; the console page for a browser."""
        return f"http://{ADDRESS}:{self.http_port}"

    @property
    def tls_target(self) -> str:
        """The value for `aiplatform.init(api_endpoint=...)`."""
        return f"localhost:{self.tls_port}"

    @property
    def tls_ca_file(self) -> Path:
        """What GRPC_DEFAULT_SSL_ROOTS_FILE_PATH must name before grpc is imported."""
        if self._tls_dir is None:
            raise RuntimeError("The local cloud was not started with tls_port.")
        return Path(self._tls_dir.name) / "ca.pem"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which all of Google's clients of a program connect to it, unchanged.

        It needs `tls_port`. The program sets them before its first gRPC call.
        """
        metadata = self.http_url.removeprefix("http://")
        return {
            "GOOGLE_CLOUD_PROJECT": self.project,
            "STORAGE_EMULATOR_HOST": self.http_url,
            "GCE_METADATA_HOST": metadata,
            "GCE_METADATA_IP": metadata,
            "grpc_proxy": self.http_url,
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self.tls_ca_file),
        }

    def _wired(self) -> tuple[grpc.GenericRpcHandler, ...]:
        vertex, run = "google.cloud.aiplatform.v1", "google.cloud.run.v2"
        scheduler, gate = "google.cloud.scheduler.v1", self.core.gate
        services = (
            (ModelServiceGrpcTransport, f"{vertex}.ModelService", self.models),
            (EndpointServiceGrpcTransport, f"{vertex}.EndpointService", self.endpoints),
            (PipelineServiceGrpcTransport, f"{vertex}.PipelineService", self.pipelines),
            (PredictionServiceGrpcTransport, f"{vertex}.PredictionService", self.predictions),
            (ScheduleServiceGrpcTransport, f"{vertex}.ScheduleService", self.schedules),
            (ProjectsGrpcTransport, "google.cloud.resourcemanager.v3.Projects", self._projects),
            (ServicesGrpcTransport, f"{run}.Services", self.run),
            (RevisionsGrpcTransport, f"{run}.Revisions", self._revisions),
            (CloudSchedulerGrpcTransport, f"{scheduler}.CloudScheduler", self.scheduler),
            (MetricServiceGrpcTransport, "google.monitoring.v3.MetricService", self.monitoring),
        )
        bound = [bind(gate, *service) for service in services]
        operations = bind_operations(gate, self.core.operations)
        locations = bind_locations(gate, Locations(self.core))
        self.rest.serve(bound, (operations, locations))
        return tuple(wire(gate, service) for service in (*bound, operations, locations))
