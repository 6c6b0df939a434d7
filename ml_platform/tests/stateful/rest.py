"""How a play ends: trouble is over, people follow the advice, and then everything must agree."""

from __future__ import annotations

from functools import partial
from typing import Any

from ml_platform.errors import PlatformError
from ml_platform.kpis import four_counts
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Operation,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.states import (
    SUCCEEDED_RUN_STATUSES,
    FindingStatus,
    OperationKind,
    OperationStatus,
    Registration,
    RunStatus,
)
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deletion.state import pointer_of
from ml_platform.services.deployment.deploy import redeploy_endpoint
from ml_platform.services.deployment.undeploy import undeploy_endpoint
from ml_platform.services.findings.comparisons.services import REDEPLOY, SEND_TRAFFIC
from ml_platform.services.findings.decisions import confirm_plane
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.ownership.labels import ENDPOINT
from ml_platform.services.registration.register import register_run
from ml_platform.services.removal.removal import remove_waiting
from ml_platform.services.repairs.pointers import clear_stale_pointers
from ml_platform.services.repairs.reconciliation import repair_finding, repairs_of
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.training.polling import poll_training_runs
from ml_platform.tests.boundaries import BrokenInvariant

from . import planes
from .neighbours import confirm
from .oracle import DIFFERENCES, after_turn, verified_is_the_same, waited
from .people import put_labels_back, restore_files, take_back
from .people_jobs import approve_again
from .play import Luck, Play
from .rules import REPAIRABLE
from .settled import unsettled
from .world import BO, World, prefix_of, settle

PASSES = 8


def come_to_rest(play: Play) -> None:
    """End all trouble, let everybody finish, reconcile, and judge.

    :raises BrokenInvariant: with every invariant that does not hold.
    """
    world = play.world
    _end_trouble(play)
    wrong = [*_let_end(play), *_look_at_files(play)]
    take_back(play)
    _finish_training(world)
    wrong += _marks_without_cause()
    for number in range(PASSES):
        before = _state(world)
        _follow_advice(play)
        _reconcile(play)
        if number == 0:
            put_labels_back(play)
            restore_files(play, _with_other_files())
        after = _state(world)
        restless = [name for name in before if before[name] != after[name]]
        if not restless:
            break
    else:
        wrong.append(f"I11 one more reconcile writes nothing: it changed {restless}")
    # The daily job: whatever used a deleted version's files may be gone by now.
    remove_waiting(actor=BO, clock=world.now)
    settle(world)
    play.judge.look()
    wrong += [*play.judge.broken, *unsettled(world), *_vertex_total(world)]
    wrong += [*_lost_rows(play), *after_turn(play)]
    if wrong:
        raise BrokenInvariant("; ".join(wrong))


def _end_trouble(play: Play) -> None:
    play.luck = Luck()
    play.meanwhile = ()
    play.tell("rest")
    cloud = play.world.cloud
    cloud.faults.clear()
    cloud.run.reset()
    cloud.core.operations.lro_seconds = 0.0
    _confirm_alarms(play)


def _let_end(play: Play) -> list[str]:
    """I19: everything ends while people's changes stand; then they approve what they withdrew."""
    play.world.forward(700)
    began = play.world.now()
    try:
        settle(play.world)
    except AssertionError as live:
        return [f"I19 nothing waits for ever: {live}"]
    wrong = [*waited(began, play.world.now()), *after_turn(play)]
    approve_again(play)
    return wrong


def _look_at_files(play: Play) -> list[str]:
    """I17, while people's changes stand; then they restore what serves, and half of the rest."""
    versions = TrainingRun.objects.filter(pk__in=play.edited)
    versions = versions.filter(registration=Registration.REGISTERED)
    if not versions.exists():
        return []
    play.world.forward(1)
    wrong = list(verified_is_the_same(play.world, sweep(actor=BO, clock=play.world.now)))
    served = set(DeployedEndpoint.objects.protecting().values_list("run", flat=True))
    restored = [run for run in versions.order_by("pk") if run.pk in served or play.happens(0.5)]
    restore_files(play, restored)
    return wrong


def _with_other_files() -> list[TrainingRun]:
    """The versions whose files no repair could bring back: some were added, or have expired."""
    found = Finding.objects.open().filter(kind__in=DIFFERENCES)
    return [finding.run for finding in found.select_related("run") if finding.run]


def _marks_without_cause() -> list[str]:
    """I5: what is marked although nobody deletes it may yet go by a deletion that was sent."""
    deletions = Operation.objects.filter(kind=OperationKind.DELETE)
    sent = {target for operation in deletions for target in operation.data.get("sent", ())}
    return [
        f"I5 nothing is under way: {run} is marked, and no deletion of it was sent"
        for run in TrainingRun.objects.filter(registration=Registration.DELETING)
        if {run.vertex_model_resource_name, str(pointer_of(run))}.isdisjoint(sent)
    ]


def _finish_training(world: World) -> None:
    world.forward(600)
    for _ in range(10):
        poll_training_runs(actor=BO, clock=world.now)
        settle(world)
        if not TrainingRun.objects.filter(status=RunStatus.RUNNING).exists():
            return
        world.forward(60)


def _follow_advice(play: Play) -> None:
    """Confirm a stopped installation; retry what failed and left something half done; register what
    succeeded; undeploy what is served by nobody."""
    world = play.world
    confirm(play)
    settle(world)
    _ask_again(play)
    for endpoint in DeployedEndpoint.objects.exclude(state__in=("active", "inactive")):
        operation = _last_of(endpoint)
        if operation.status == OperationStatus.FAILED:
            play.tell(f"  retry {operation}")
            _try(play, lambda op=operation: retry_operation(operation=op, actor=BO))
    settle(world)
    for endpoint in DeployedEndpoint.objects.exclude(state__in=("active", "inactive")):
        # The retry failed as well, for example because the model is gone.
        if _last_of(endpoint).status == OperationStatus.FAILED:
            play.tell(f"  undeploy {endpoint}")
            _try(
                play,
                lambda e=endpoint: undeploy_endpoint(endpoint=e, actor=BO, now=world.now()),
            )
    _end_what_is_left(play)
    shown = planes.services(world.cloud)
    for endpoint in DeployedEndpoint.objects.filter(is_active=True):
        service = shown.get(endpoint.service_name)
        if service is None or service.labels.get(ENDPOINT) != endpoint.uid.hex:
            play.tell(f"  undeploy {endpoint}")
            undeploy_endpoint(endpoint=endpoint, actor=BO, now=world.now())
            settle(world)  # it holds its model, which may have another endpoint
    found = Finding.objects.open().filter(kind=FindingKind.SERVICE_MISMATCH, repair=REDEPLOY)
    for finding in found:
        endpoint = DeployedEndpoint.objects.get(service_name=finding.evidence["service_name"])
        there = endpoint.run and endpoint.run.registration == Registration.REGISTERED
        verb = redeploy_endpoint if there else undeploy_endpoint
        play.tell(f"  {verb.__name__} {endpoint}")
        _try(play, lambda e=endpoint, do=verb: do(endpoint=e, actor=BO, now=world.now()))
        settle(world)
    _send_traffic_back(play)


def _send_traffic_back(play: Play) -> None:
    """Send traffic to the latest revision where a finding or a refused deploy says so."""
    found = Finding.objects.open().filter(kind=FindingKind.SERVICE_MISMATCH, repair=SEND_TRAFFIC)
    named = {finding.evidence["service_name"] for finding in found}
    refused = Operation.objects.filter(error_code="traffic_elsewhere")
    shown = planes.services(play.world.cloud)
    pinned = {key for key, service in shown.items() if any(t.revision for t in service.traffic)}
    named |= pinned & set(refused.values_list("service_key", flat=True))
    for name in sorted(named & shown.keys()):
        play.tell(f"  send the traffic of {name} to its latest revision")
        play.world.send_to_latest(name)


def _end_what_is_left(play: Play) -> None:
    """Delete again what a deletion left marked, and what is left of what it deleted."""
    who: dict[str, Any] = {"actor": BO, "now": play.world.now()}
    for run in TrainingRun.objects.filter(registration=Registration.DELETING):
        lineage = RegisteredModel.objects.get(training_runs=run)
        play.tell(f"  delete {run} again")
        _try(play, partial(delete_versions, lineage=lineage, runs=[run], **who))
    failed = Operation.objects.filter(kind=OperationKind.DELETE, status=OperationStatus.FAILED)
    for operation in failed.exclude(steps=[]):
        deleted = TrainingRun.objects.filter(
            pk__in=operation.data.get("runs", ()), registration=Registration.DELETED
        )
        if any(any(planes.objects(play.world.cloud, prefix_of(run))) for run in deleted):
            play.tell(f"  retry {operation}")
            _try(play, lambda op=operation: retry_operation(operation=op, actor=BO))
    settle(play.world)


def _ask_again(play: Play) -> None:
    """Retry each schedule's last operation, and register the blessed runs that are no version."""
    world = play.world
    for schedule in TrainingSchedule.objects.all():
        about = Operation.objects.filter(kind=OperationKind.SCHEDULE, subject_id=str(schedule.pk))
        operation = about.order_by("-created_at", "-started_at").first()
        if operation and operation.status == OperationStatus.FAILED:
            play.tell(f"  retry {operation}")
            _try(play, lambda op=operation: retry_operation(operation=op, actor=BO))
    blessed = TrainingRun.objects.filter(status__in=SUCCEEDED_RUN_STATUSES, is_blessed=True)
    for run in blessed.filter(registration=Registration.NONE).exclude(gcs_artifacts_path=""):
        play.tell(f"  register {run}")
        _try(play, lambda run=run: register_run(run=run, actor=BO, now=world.now()))
    settle(world)


def _last_of(endpoint: DeployedEndpoint) -> Operation:
    operations = Operation.objects.filter(service_key=endpoint.service_name)
    return operations.exclude(steps=[]).latest("created_at", "finished_at")


def _reconcile(play: Play) -> None:
    """Look, then make every safe repair, and look closely at what a look may have missed."""
    world = play.world
    world.forward(60)
    sweep(actor=BO, clock=world.now)
    if _confirm_alarms(play):
        sweep(actor=BO, clock=world.now)
    for finding in Finding.objects.filter(status="open", kind__in=REPAIRABLE):
        play.tell(f"  repair {finding.kind} {finding.title}")
        names = [one.slug for one in repairs_of(finding)]
        play.dice.shuffle(names)
        for name in names or [""]:
            _repair(play, finding, name)
        if finding.kind == FindingKind.SERVICE_CHANGED:
            _end_unless_ours(play, finding)
    for lineage in RegisteredModel.objects.registered():
        if _has_stale(world, lineage):
            clear_stale_pointers(registered_model=lineage, actor=BO, now=world.now())
            settle(world)


def _repair(play: Play, finding: Finding, name: str) -> None:
    """One that was repaired, or is no longer there, refuses the next repair."""
    finding.refresh_from_db()
    now = play.world.now()
    _try(play, lambda: repair_finding(finding=finding, repair=name, actor=BO, now=now))
    settle(play.world)


def _end_unless_ours(play: Play, finding: Finding) -> None:
    """A version that cannot be deployed again, for example a lost one, is undeployed."""
    finding.refresh_from_db()
    endpoint = DeployedEndpoint.objects.get(service_name=finding.evidence["service_name"])
    if finding.status != FindingStatus.OPEN or not endpoint.is_active:
        return
    if endpoint.run and endpoint.run.registration == Registration.REGISTERED:
        return
    play.tell(f"  undeploy {endpoint}")
    now = play.world.now()
    _try(play, lambda: undeploy_endpoint(endpoint=endpoint, actor=BO, now=now))
    settle(play.world)


def _confirm_alarms(play: Play) -> bool:
    """A plane that shrank is as people left it; returns whether one did."""
    alarms = list(Finding.objects.alarms())
    for alarm in alarms:
        play.tell(f"  confirm {alarm.title}")
        confirm_plane(finding=alarm, actor=BO, now=play.world.now())
    return bool(alarms)


def _has_stale(world: World, lineage: RegisteredModel) -> bool:
    """A version that is not the default can go unseen by a sweep; looking closely finds it."""
    return any(
        planes.version(
            world.cloud, run.vertex_model_resource_name.rpartition("/")[2], run.vertex_model_version
        )
        is None
        for run in lineage.training_runs.versions()
    )


def _try(play: Play, verb: Any) -> None:
    try:
        verb()
    except PlatformError as refusal:
        play.tell(f"    refused: {refusal}")


def _state(world: World) -> dict[str, Any]:
    """What may not change any more once everything is at rest."""
    quiet = ("updated_at", "registry_checked_at")
    found: dict[str, Any] = {"the cloud": len(world.cloud.effects.mutations())}
    for model in (RegisteredModel, TrainingRun, DeployedEndpoint, TrainingSchedule):
        names = [f.attname for f in model._meta.concrete_fields if f.attname not in quiet]
        rows = model._default_manager.order_by("pk").values_list(*names)
        found[model.__name__] = list(rows)
    found["operations"] = Operation.objects.count()
    open_findings = Finding.objects.filter(status="open")
    found["findings"] = sorted(open_findings.values_list("kind", "subject"))
    return found


def _vertex_total(world: World) -> list[str]:
    """I1: what Vertex AI has, without the models of other installations, is what we count and what
    findings name, one by one."""
    default = [v for v in planes.versions(world.cloud) if "default" in v.aliases]
    there = {v.model_id for v in default if not planes.is_theirs(v.labels)}
    held = {name.rpartition("/")[2] for name in _names(RegisteredModel.objects.registered())}
    subjects = Finding.objects.open().values_list("subject", flat=True)
    found = {subject.rpartition("/")[2] for subject in subjects if "/models/" in subject}
    wrong = f"I1 Vertex total: {len(there)} models, {len(held)} counted, {sorted(there - held)}"
    return [] if there == held | (found & there) and four_counts().vertex == len(there) else [wrong]


def _names(lineages: Any) -> Any:
    return lineages.values_list("vertex_model_resource_name", flat=True)


def _lost_rows(play: Play) -> list[str]:
    """I6: every run and schedule that a person asked for has its row."""
    return [
        f"I6 rows stay: {model.__name__} {key} is gone"
        for model, key in play.made
        if not model.objects.filter(pk=key).exists()  # type: ignore[attr-defined]
    ]
