"""A row of the table, and the small world in which a person acts and a sweep looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from ml_platform.cloud.transport import channels
from ml_platform.models import Finding, Project, RegisteredModel, TrainingRun
from ml_platform.models.states import FindingStatus
from ml_platform.services.repairs.reconciliation import is_safe, repair_finding, repairs_of
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.services.training_tools import ANA, CloudClock, settle
from ml_platform.tests.services.world import BUCKET, a_lineage

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

Undo: TypeAlias = Callable[[], object] | None
"""How the person takes it back, where the platform has no safe repair."""
MOMENT = 180
"""Seconds after which nothing is so young that Google may not show it yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a person does, and what the next sweep finds; `why` says why it needs to find nothing.

    `method` is the method of Google's API that the act is about, as the local cloud's log names it.
    """

    method: str
    act: Callable[[Scene], Undo]
    finds: tuple[str, ...] = ()
    why: str = ""
    refused: bool = False
    """Whether Google refuses it, so that nothing happens."""
    tells: Callable[[Scene], object] | None = None
    """What else tells it, where a sweep does not look."""


@dataclass(slots=True)
class Scene:
    """The two clouds of a row: ours and Google's, which share a clock."""

    cloud: LocalCloud
    clock: CloudClock
    project: Project
    kept: dict[str, Any] = field(default_factory=dict)
    """What a row leaves for the next one."""
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if channel := self.kept.get("channel"):
            channel.close()

    def name(self, what: str = "model") -> str:
        """A name that was not used yet."""
        return f"{what}-{next(self._numbers)}"

    def model(self, versions: int = 1) -> tuple[RegisteredModel, list[TrainingRun]]:
        """A registered model, old enough to be believed."""
        found = a_lineage(
            self.cloud,
            self.clock,  # type: ignore[arg-type]
            versions=versions,
            project=self.project,
            name=self.name(),
        )
        self.clock.forward(MOMENT)
        return found

    def look(self) -> list[str]:
        """Sweep, and return the kinds of the open findings."""
        self.clock.forward(MOMENT)
        done = sweep(actor=ANA, clock=self.clock)
        assert done.status == "complete", done.planes
        self.clock.forward(1)
        return sorted(Finding.objects.open().values_list("kind", flat=True))

    def repair(self, undo: Undo) -> None:
        """Repair each finding; the person takes back what no safe repair can mend."""
        findings = list(Finding.objects.open())
        left = [finding for finding in findings if not is_safe(finding)]
        for finding in filter(is_safe, findings):
            finding.refresh_from_db()
            if finding.status != FindingStatus.OPEN:  # the repair of another one ended it
                continue
            safe, *_ = repairs_of(finding)
            operation = repair_finding(
                finding=finding, repair=safe.slug, actor=ANA, now=self.clock()
            )
            settle(self.clock)
            operation.refresh_from_db()
            if operation.status != "succeeded":
                left.append(finding)
        if left:
            assert undo is not None, left
            undo()

    def client(self, cls: Any) -> Any:
        """Google's own client of a service that the platform does not call."""
        transport = cls.get_transport_class("grpc")
        channel = self.kept.setdefault("channel", grpc.insecure_channel(self.cloud.grpc_target))
        return cls(transport=transport(channel=channel))

    def bucket(self, name: str = BUCKET) -> Any:
        """Google's own client of a bucket."""
        return self.storage().bucket(name)

    def storage(self) -> Any:
        """Google's own client of Cloud Storage."""
        options = {"api_endpoint": self.cloud.http_url}
        return storage.Client("demo-project", AnonymousCredentials(), client_options=options)


def pointer(run: TrainingRun) -> str:
    """The name of a run's version in Vertex AI."""
    return f"{run.vertex_model_resource_name}@{run.vertex_model_version}"


def rpc(service: str, method: str, /, **request: Any) -> Any:
    """One request of Google's own client; an operation is waited for."""
    answer = getattr(channels.client(service), method)(request=request)
    return answer.result() if hasattr(answer, "operation") else answer
