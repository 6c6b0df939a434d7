"""The turns of a play: every verb, the jobs, a person in Google's console, time and trouble."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from random import Random
from typing import Any
from unittest.mock import patch

from django.db import connection
from google.cloud.run_v2.types import service as service_types

from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Operation,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.states import EndpointState, OperationStatus, Registration, ScheduleState
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deployment.deploy import deploy_run, redeploy_endpoint, rollback_endpoint
from ml_platform.services.deployment.undeploy import delete_endpoint, undeploy_endpoint
from ml_platform.services.findings.kinds import KINDS, FindingKind
from ml_platform.services.operations.retry_cancel import request_cancel, retry_operation
from ml_platform.services.operations.worker import resume_operations, run_until_idle
from ml_platform.services.ownership.service_names import service_name
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.services.registration.register import register_run
from ml_platform.services.registry.aliases import set_aliases
from ml_platform.services.registry.lineages import lineage_uid
from ml_platform.services.repairs.pointers import clear_stale_pointers
from ml_platform.services.repairs.reconciliation import repair_finding, repairs_of
from ml_platform.services.repairs.unmanaged_models import delete_unmanaged_model
from ml_platform.services.scheduling import schedules as scheduling
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.training.polling import poll_training_runs
from ml_platform.services.training.runs import cancel_run, create_run, submit_run
from ml_platform.tests.services.training_tools import TEMPLATE_URI

from . import planes
from .neighbours import BACKUPS, NEIGHBOURS
from .oracle import verified_is_the_same
from .people import (
    PEOPLE,
    SECOND_FILE,
    edit_files,
    edit_what_is_deployed,
    hold,
    our_versions,
    release,
)
from .people_jobs import JOBS
from .people_services import edit_and_deploy, edit_service
from .play import Play, Rule
from .world import BO, World, settle

NAMES = ("chern", "ranker")
REPAIRABLE = tuple(kind for kind in KINDS if kind.facts.repair)
_Create: Any = service_types.CreateServiceRequest
_Delete: Any = service_types.DeleteServiceRequest
_PARENT = "projects/demo-project/locations/europe-central2"


def _who(play: Play) -> dict[str, Any]:
    return {"actor": BO, "now": play.world.now()}


def furnish(world: World, dice: Random) -> None:
    """Most histories begin with versions that are long there, some with one that serves."""
    if dice.random() < 0.3:
        return
    runs = world.a_lineage(versions=dice.choice([1, 2, 3]), name=dice.choice(NAMES))
    for run in runs:
        world.write(run, SECOND_FILE)
    if dice.random() < 0.5:
        deploy_run(run=dice.choice(runs), actor=BO, now=world.now())
        settle(world)
    world.forward(300)


# ---- training -----------------------------------------------------------------------------------


def finish_run(play: Play) -> None:
    run = play.world.a_run(play.dice.choice(NAMES))
    play.world.write(run, SECOND_FILE)
    play.made.append((TrainingRun, run.pk))


def train(play: Play) -> None:
    run = create_run(
        project=play.world.project,
        model_name=play.dice.choice(NAMES),
        model_type="retrieval",
        template_uri=TEMPLATE_URI,
        parameters={},
        **_who(play),
    )
    play.made.append((TrainingRun, run.pk))
    submit_run(run=run, **_who(play))


def stop_training(play: Play) -> None:
    if run := play.pick(TrainingRun.objects.live()):
        cancel_run(run=run, **_who(play))


def poll(play: Play) -> None:
    poll_training_runs(actor=BO, clock=play.world.now)


def plan(play: Play) -> None:
    number = TrainingSchedule.objects.count()
    operation = scheduling.create_schedule(
        project=play.world.project,
        name=f"plan {number}",
        model_name=play.dice.choice([*NAMES, "never"]),
        model_type="retrieval",
        template_uri=TEMPLATE_URI,
        parameters={},
        frequency="daily",
        first=play.world.now() + timedelta(hours=20),
        **_who(play),
    )
    play.made.append((TrainingSchedule, int(operation.subject_id)))


def turn_plan(play: Play) -> None:
    turns = (
        scheduling.pause_schedule,
        scheduling.resume_schedule,
        scheduling.cancel_schedule,
        scheduling.trigger_schedule,
    )
    if schedule := play.pick(TrainingSchedule.objects.all()):
        play.dice.choice(turns)(schedule=schedule, **_who(play))


def fire(play: Play) -> None:
    if schedule := play.pick(TrainingSchedule.objects.filter(state=ScheduleState.ACTIVE)):
        tick = play.world.now()
        scheduling.fire_schedule(schedule=schedule, scheduled_for=tick, **_who(play))


# ---- versions -----------------------------------------------------------------------------------


def register(play: Play) -> None:
    fit = TrainingRun.objects.filter(registration__in=(Registration.NONE, Registration.LOST))
    if run := play.pick(fit.filter(is_blessed=True)):
        register_run(run=run, **_who(play))


def register_new(play: Play) -> None:
    finish_run(play)
    register_run(run=TrainingRun.objects.latest("pk"), **_who(play))


def delete_one(play: Play) -> None:
    if run := play.pick(TrainingRun.objects.exclude(registered_model=None).exclude(version=None)):
        delete_versions(lineage=run.registered_model, runs=[run], **_who(play))


def delete_all(play: Play) -> None:
    if lineage := play.pick(RegisteredModel.objects.registered()):
        runs = list(lineage.training_runs.versions())
        delete_versions(lineage=lineage, runs=runs, **_who(play))


def move_alias(play: Play) -> None:
    if run := play.pick(TrainingRun.objects.versions()):
        alias = play.dice.choice(["default", "golden"])
        set_aliases(run=run, add=[alias], **_who(play))


# ---- serving ------------------------------------------------------------------------------------


def deploy(play: Play) -> None:
    if run := play.pick(TrainingRun.objects.versions()):
        deploy_run(run=run, **_who(play))


def redeploy(play: Play) -> None:
    if endpoint := play.pick(DeployedEndpoint.objects.all()):
        turn = play.dice.choice([redeploy_endpoint, rollback_endpoint])
        turn(endpoint=endpoint, **_who(play))


def undeploy(play: Play) -> None:
    if endpoint := play.pick(DeployedEndpoint.objects.exclude(state=EndpointState.INACTIVE)):
        undeploy_endpoint(endpoint=endpoint, **_who(play))


def drop_endpoint(play: Play) -> None:
    if endpoint := play.pick(DeployedEndpoint.objects.all()):
        delete_endpoint(endpoint=endpoint, **_who(play))


def revision_fails(play: Play) -> None:
    play.world.cloud.run.outcome(ending=play.dice.choice(["fail", "no_traffic"]))


# ---- workers and jobs ---------------------------------------------------------------------------


def cancel(play: Play) -> None:
    if operation := play.pick(Operation.objects.live()):
        request_cancel(operation=operation, **_who(play))


def retry(play: Play) -> None:
    if operation := play.pick(Operation.objects.filter(status=OperationStatus.FAILED)):
        retry_operation(operation=operation, actor=BO)


def sweep_all(play: Play) -> None:
    play.world.forward(1)  # what has its time was compared by it, and by no sweep before
    edits = play.counts.get("files edited")
    swept = sweep(actor=BO, clock=play.world.now)
    if play.counts.get("files edited") == edits:
        play.judge.broken += verified_is_the_same(play.world, swept)


def clean_up(play: Play) -> None:
    """The daily job, with the options that a person may give it by hand."""
    strays = play.happens(0.3)
    play.strays_may_go |= strays
    clean_up_artifacts(
        days=0,
        actor=BO,
        clock=play.world.now,
        include_registered=play.happens(0.5),
        delete_strays=strays,
    )


def repair(play: Play) -> None:
    if finding := play.pick(Finding.objects.filter(status="open", kind__in=REPAIRABLE)):
        names = [one.slug for one in repairs_of(finding)]
        name = play.dice.choice(names) if len(names) > 1 else "".join(names)
        repair_finding(finding=finding, repair=name, **_who(play))


def look_closely(play: Play) -> None:
    if lineage := play.pick(RegisteredModel.objects.registered()):
        clear_stale_pointers(registered_model=lineage, **_who(play))


def choose(play: Play) -> None:
    """A person decides about a model that is nobody's."""
    found = Finding.objects.filter(status="open", kind=FindingKind.UNMANAGED)
    if finding := play.pick(found):
        model_id = finding.subject.rpartition("/")[2]
        for key in [key for key in play.theirs if key.startswith(f"model {model_id}@")]:
            del play.theirs[key]
        if play.happens(0.5):
            delete_unmanaged_model(resource_name=finding.subject, **_who(play))
            return
        adopt_model(
            resource_name=finding.subject,
            project=play.world.project,
            model_name=play.dice.choice([*NAMES, "adopted"]),
            **_who(play),
        )


# ---- a person in Google's console ---------------------------------------------------------------


def vanish_model(play: Play) -> None:
    ours = sorted({v.model_id for v in our_versions(play)})
    if ours:
        play.world.vanish(play.dice.choice(ours))


def vanish_version(play: Play) -> None:
    found = our_versions(play)
    many = [v for v in found if sum(o.model_id == v.model_id for o in found) > 1]
    if many:
        gone = play.dice.choice(many)
        play.world.vanish(gone.model_id, gone.version)


def vanish_service(play: Play) -> None:
    services = planes.services(play.world.cloud)
    ours = sorted(key for key, s in services.items() if planes.is_ours(s.labels))
    if ours:
        name = f"{_PARENT}/services/{play.dice.choice(ours)}"
        with play.world.as_a_person("Services.DeleteService"):
            play.world.cloud.run.delete_service(_Delete(name=name))


def pin_traffic(play: Play) -> None:
    """All requests go to one revision of a service of ours, whichever is the newest."""
    cloud = play.world.cloud
    owned = [key for key, s in planes.services(cloud).items() if planes.is_ours(s.labels)]
    if not owned:
        return
    key = play.dice.choice(sorted(owned))
    play.world.pin(key, play.dice.choice(planes.revisions(cloud, key)))


def strange_upload(play: Play) -> None:
    """A model of ours by name, not by labels; often of files that a run of ours pushed."""
    play.count("strange uploads")
    model_id = str(4711 + play.counts["strange uploads"])
    paths = TrainingRun.objects.exclude(gcs_artifacts_path="").order_by("pk")
    used = play.dice.choice(["", *paths.values_list("gcs_artifacts_path", flat=True)])
    if play.lagging:  # a limit of docs/reliability.md: a copy that no listing shows yet
        used = ""
    play.world.cloud.models.seed(
        model_id,
        display_name=play.dice.choice(NAMES),
        versions=[{"version": 1, "artifact_uri": used and f"{used}pushed_model/1"}, 2],
    )
    for v in planes.versions(play.world.cloud):
        if v.model_id == model_id:
            play.theirs[f"model {model_id}@{v.version}"] = v.content


def strange_service(play: Play) -> None:
    """A service under the name that our next deploy would take."""
    name = play.dice.choice(NAMES)
    lineage = lineage_uid(project_id=play.world.project.pk, model_name=name)
    project = str(play.world.project)
    key = service_name(project=project, model=name, installation="tests", lineage=lineage)
    if key in planes.services(play.world.cloud):
        return
    service = {"template": {"containers": [{"image": "theirs"}]}}
    operations = play.world.cloud.core.operations
    with (
        play.world.as_a_person("Services.CreateService"),
        patch.object(operations, "lro_seconds", 0.0),
    ):
        play.world.cloud.run.create_service(
            _Create(parent=_PARENT, service_id=key, service=service)
        )
    play.theirs[f"service {key}"] = planes.content_of(play.world.cloud, f"service {key}") or b""


def strange_folder(play: Play) -> None:
    """Files of nobody's, one of them beside a run's prefix, in which its name is contained."""
    names = [f"runs/{len(play.theirs)}/pushed_model/1/saved_model.pb"]
    if run := play.pick(TrainingRun.objects.all()):
        names.append(f"runs/{run.uid.hex}0/saved_model.pb")
    for name in names:
        generation = play.world.cloud.storage.write(planes.BUCKET, name, b"theirs")
        play.theirs[f"object {name}"] = str(generation).encode()


# ---- what happens while a process stands between a COMMIT and its call --------------------------


def others_work(play: Play) -> None:
    resume_operations(clock=play.world.now)


def stalled(play: Play) -> None:
    """The lease runs out; another worker takes the operation over and carries it to its end."""
    play.world.forward(61)
    running = Operation.objects.filter(status=OperationStatus.RUNNING)
    play.delayed.update(str(key) for key in running.values_list("pk", flat=True))
    for operation in running:
        run_until_idle(operation_id=operation.pk, clock=play.world.now)


RULES: Mapping[str, tuple[int, Rule]] = {
    rule.__name__: (weight, rule)
    for weight, rules in (
        *PEOPLE,
        *JOBS,
        *((*NEIGHBOURS, *BACKUPS) if connection.vendor == "sqlite" else ()),
        (20, (Play.work,)),
        (10, (register_new,)),
        (8, (Play.tick, deploy)),
        (6, (delete_one,)),
        (4, (undeploy, register)),
        (
            3,
            (
                Play.heal,
                Play.break_plane,
                Play.lag,
                train,
                poll,
                sweep_all,
                move_alias,
                retry,
                redeploy,
                repair,
            ),
        ),
        (2, (delete_all, vanish_model, vanish_version, strange_upload, strange_folder, Play.slow)),
        (
            1,
            (
                finish_run,
                stop_training,
                clean_up,
                plan,
                turn_plan,
                fire,
                cancel,
                look_closely,
                choose,
                drop_endpoint,
                revision_fails,
                vanish_service,
                strange_service,
                pin_traffic,
            ),
        ),
    )
    for rule in rules
}
"""Name -> weight and turn."""
MEANWHILE: tuple[Rule, ...] = (
    others_work,
    stalled,
    delete_one,
    deploy,
    undeploy,
    vanish_model,
    register_new,
    edit_files,
    edit_what_is_deployed,
    edit_service,
    edit_and_deploy,
    hold,
    release,
)
