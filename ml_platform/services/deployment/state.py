"""What the steps of a deploy remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_platform.errors import PlatformError
from ml_platform.models import TrainingRun
from ml_platform.services.operations.work import Work
from ml_platform.services.serving.polling import ServiceState


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployState(ServiceState):
    """What was requested, what was found, and the progress of the rollout."""

    run: int = 0
    config: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 1
    """Counts the retries; a label of the service distinguishes the attempts."""
    marked: bool = False
    """Our rows say `deploying`, so an end without success has to undo that."""

    artifact_uri: str = ""
    established: bool = False
    """The model or its artifacts are known to be gone, so the pointer to them is cleared."""
    said: str = ""
    nothing_left: bool = False
    model_gone: bool = False
    """Vertex AI has no version of the model at all."""
    cleared: str = ""
    """The pointer that was cleared."""
    changed: tuple[str, ...] = ()
    """What the end without success changed of what was registered, in sentences."""
    registers: bool = False
    """The files of the version that is gone are there, so that its run can be registered again."""

    last: Mapping[str, Any] = field(default_factory=dict)
    """The configuration that the service was last given by us."""
    announced: tuple[str, ...] = ()
    """What others had changed as the newest sweep saw it, in words: told when it was requested."""
    overwritten: tuple[str, ...] = ()
    """What others had changed as the service was read before it was changed."""
    traffic: tuple[tuple[str, int, str], ...] = ()
    """Where the traffic is to go in the end: revision ('' for the latest), percent, tag."""
    held_by: str = ""
    """The revision that gets the share of the latest until the files of the new one were compared;
    '' when no traffic is withheld."""
    compared: bool = False
    """The files were those of the manifest when the new revision was ready."""
    created: bool = False
    """This operation created the service, so it may delete it."""
    before: str | None = None
    """Artifacts of the version that served before; None until the service was read."""
    going_back: bool = False
    """The new version did not become ready, and the previous one is restored."""
    removing: bool = False
    """The new version did not become ready, so the service that was created for it is deleted."""
    failure: str = ""
    gone: bool = False
    """Cloud Run has no such service, so nothing serves."""

    url: str = ""
    revision: str = ""
    recorded: bool = False
    invokers_before: tuple[str, ...] = ()


class DeployFailed(PlatformError):
    """The new revision does not serve; the previous version still does."""

    code = "deploy_failed"
    advice = "Check the revision's logs in Cloud Run, then deploy again."


def asked_run(work: Work[DeployState]) -> TrainingRun:
    return TrainingRun.objects.get(pk=work.state.run)
