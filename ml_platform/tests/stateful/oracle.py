"""What people made and set, and whether files are what we say: asked of the cloud's store directly,
after each turn, after a sweep and at rest. No function of the product decides here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Q

from ml_platform.models import (
    Finding,
    Manifest,
    Operation,
    RegisteredModel,
    Sweep,
    TrainingRun,
)
from ml_platform.models.states import (
    STANDING_FINDING_STATUSES,
    Approval,
    OperationKind,
    OperationStatus,
    Registration,
    RegistryState,
)
from ml_platform.services.ownership.labels import DIGEST

from . import planes

if TYPE_CHECKING:
    from .play import Play
    from .world import World

SERVING = (OperationKind.DEPLOY, OperationKind.REDEPLOY)
DIFFERENCES = ("artifacts_missing", "artifacts_changed", "artifacts_incomplete")
LONGEST_HOURS = 26.0
"""No operation polls for more than a day; its last try may begin just before its end."""


def after_turn(play: Play) -> list[str]:
    """What is wrong after this turn, by I10, I16, I18 and I20."""
    return [
        *theirs_is_theirs(play),
        *their_fields_stay(play),
        *no_withdrawn_version_is_deployed(play),
        *no_other_files_serve(play),  # the last one: it notes which operations were judged
    ]


def theirs_is_theirs(play: Play) -> Iterator[str]:
    """I10: what others made is as they made it. Files of no run may go if a person asked for it."""
    for key, content in play.theirs.items():
        now = planes.content_of(play.world.cloud, key)
        went = now is None and key.startswith("object ") and play.strays_may_go
        if now != content and not went:
            yield f"I10 theirs is theirs: {key} was {'deleted' if now is None else 'changed'}"


def their_fields_stay(play: Play) -> Iterator[str]:
    """I16: what people set on a service of ours stays until the service goes."""
    if not play.fields:
        return
    shown = planes.services(play.world.cloud)
    for (key, uid, field), value in play.fields.items():
        service = shown.get(key)
        if service is not None and service.uid == uid:
            now = planes.set_by_people(service)[field]
            if now != value:
                yield f"I16 their fields stay: {field} of {key} was {value!r} and is {now!r}"


def no_other_files_serve(play: Play) -> Iterator[str]:
    """I18: no version serves with other files than those of its manifest, unless people replaced
    them after the deploy had compared them for the second time."""
    ended = Operation.objects.filter(kind__in=SERVING, status=OperationStatus.SUCCEEDED)
    for operation in ended.exclude(pk__in=play.succeeded):
        play.succeeded.add(operation.pk)
        manifest = Manifest.objects.filter(run=operation.data.get("run")).first()
        if manifest is None:
            continue
        edited, compared = play.edited.get(manifest.run_id), _compared_at(operation)
        late = edited and compared and edited >= compared
        now = planes.digest_of(play.world.cloud, manifest.folder)
        if now != manifest.digest and not late:
            yield f"I18 no other files serve: {operation} with {now}, not {manifest.digest}"


def _compared_at(operation: Operation) -> datetime | None:
    """When the step ended that compared the files of the last revision: the first look at it."""
    ended = None
    for step in operation.steps:
        if step.get("step") == "upsert":
            ended = None
        elif step.get("step") == "confirm":
            ended = ended or step.get("finished_at")
    return datetime.fromisoformat(ended) if ended else None


def no_withdrawn_version_is_deployed(play: Play) -> Iterator[str]:
    """I20: no deploy succeeds that began to verify a version after its approval was withdrawn."""
    ended = Operation.objects.filter(kind__in=SERVING, status=OperationStatus.SUCCEEDED)
    for operation in ended.exclude(pk__in=play.succeeded):
        began = [s["started_at"] for s in operation.steps if s.get("step") == "verify_model"]
        run = TrainingRun.objects.filter(pk=operation.data.get("run")).first()
        if not began or run is None or run.approval != Approval.WITHDRAWN:
            continue
        if run.approval_at and run.approval_at < datetime.fromisoformat(began[-1]):
            yield f"I20 no withdrawn version is deployed: {operation}"


def verified_is_the_same(world: World, swept: Sweep) -> Iterator[str]:
    """I17: what a sweep has compared is verified if and only if it has the files of its manifest,
    whose digest is in the label of the version; what differs has a finding."""
    # A row that every sweep finds in order is not written, so only its mark says that it was read.
    was_read = Q(in_sweeps=True) if swept.planes["gcs"]["read"] else Q(pk__in=[])
    compared = Manifest.objects.filter(
        was_read | Q(checked_at=swept.started_at), run__registration=Registration.REGISTERED
    )
    found = Finding.objects.filter(kind__in=DIFFERENCES, status__in=STANDING_FINDING_STATUSES)
    told = set(found.values_list("run_id", flat=True))
    labels = {(v.model_id, v.version): v.labels for v in planes.versions(world.cloud)}
    for manifest in compared.select_related("run"):
        run = manifest.run
        same = planes.digest_of(world.cloud, manifest.folder) == manifest.digest
        if same != (manifest.state == "verified"):
            yield f"I17 verified is the same: {run} is {manifest.state!r}, same files: {same}"
        elif same == (run.pk in told):
            yield f"I17 verified is the same: {run}, same files: {same}, found: {run.pk in told}"
        model_id = run.vertex_model_resource_name.rpartition("/")[2]
        label = labels.get((model_id, run.vertex_model_version), {}).get(DIGEST, manifest.digest)
        if label != manifest.digest:
            yield f"I17 verified is the same: {run} was registered with {label}"
        lineage = RegisteredModel.objects.get(training_runs=run)
        if not same and lineage.registry_state == RegistryState.VERIFIED:
            yield f"I17 verified is the same: {lineage} is verified, and {run} has other files"


def waited(before: datetime, now: datetime) -> list[str]:
    """I19: nothing waits for ever, also not for what people hold or relabelled."""
    hours = (now - before).total_seconds() / 3600
    live = list(Operation.objects.live())
    if hours <= LONGEST_HOURS and not live:
        return []
    return [f"I19 nothing waits for ever: {hours:.0f} hours, and then {live}"]
