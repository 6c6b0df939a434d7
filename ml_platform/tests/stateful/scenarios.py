"""What the kill harness interrupts: a scenario prepares a world, then acts through to the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from ml_platform.models.states import ScheduleState

from . import scenes_installation as installations
from . import scenes_repairs as repairs
from . import scenes_serving as serving
from . import scenes_training as training
from . import scenes_versions as versions
from .world import Facts, Hands, World


@dataclass(frozen=True, slots=True)
class Scenario:
    """`act` may run again after everything is done: whoever got no answer asks again, same key."""

    prepare: Callable[[World], Facts]
    act: Callable[[Hands, Facts], None]
    lro_seconds: float = 0.0
    """How long Google's long-running operations take."""


SLOW = 20.0
_two, _three = versions.versions(2), versions.versions(3)
_deploy = serving.deploy("run")

SCENARIOS: Mapping[str, Scenario] = {
    "submit-and-poll": Scenario(training.pending_run, training.train),
    "cancel-run": Scenario(training.running, training.stop),
    "schedule-create": Scenario(training.nothing, training.plan),
    "schedule-fire": Scenario(training.planned, training.fire),
    "schedule-trigger": Scenario(training.planned, training.trigger),
    "schedule-pause": Scenario(training.planned, training.turn(ScheduleState.PAUSED)),
    "schedule-resume": Scenario(training.paused, training.turn(ScheduleState.ACTIVE)),
    "schedule-update": Scenario(training.changed_job, training.turn(ScheduleState.PAUSED)),
    "schedule-cancel": Scenario(training.planned, training.cancel_plan),
    "schedule-take-over": Scenario(training.with_their_job, training.take_over),
    "job-set-up": Scenario(training.nothing, training.set_up("0 4 * * *")),
    "job-correct": Scenario(training.old_job, training.set_up("0 4 * * *")),
    "job-resume": Scenario(training.paused_job, training.set_up("0 4 * * *")),
    "repair-schedule": Scenario(repairs.paused_by_hand(training.planned), repairs.repair_found),
    "repair-job": Scenario(repairs.paused_by_hand(training.old_job), repairs.repair_found),
    # versions
    "register-first": Scenario(versions.one_run, versions.register),
    "register-first-slow": Scenario(versions.one_run, versions.register, SLOW),
    "register-later": Scenario(versions.later_run, versions.register),
    "register-later-slow": Scenario(versions.later_run, versions.register, SLOW),
    "delete-one-of-three": Scenario(_three, versions.delete("run")),
    "delete-one-slow": Scenario(_two, versions.delete("first"), SLOW),
    "delete-last": Scenario(versions.versions(1), versions.delete("run")),
    "delete-lineage": Scenario(_three, versions.delete("")),
    "delete-lost": Scenario(repairs.lost, versions.delete("first")),
    "delete-much": Scenario(versions.much_to_delete, versions.delete_in_small_chunks),
    "move-alias": Scenario(_two, versions.move_alias),
    # serving
    "deploy": Scenario(_two, _deploy),
    "deploy-slow": Scenario(_two, _deploy, SLOW),
    "deploy-for-ana": Scenario(_two, serving.deploy_for_ana),
    "deploy-that-fails": Scenario(serving.never_serving, _deploy, SLOW),
    "deploy-without-model": Scenario(serving.without_model, _deploy),
    "deploy-without-artifacts": Scenario(serving.without_artifacts, _deploy),
    "redeploy": Scenario(serving.serving, _deploy),
    "redeploy-that-fails": Scenario(serving.broken, _deploy),
    "restore-endpoint": Scenario(serving.stopped, serving.restore),
    "rollback": Scenario(serving.served_twice, serving.roll_back),
    "undeploy": Scenario(serving.serving, serving.undeploy),
    "undeploy-slow": Scenario(serving.serving, serving.undeploy, SLOW),
    "delete-endpoint": Scenario(serving.stopped, serving.drop),
    # repairs and cleanups
    "check-registry": Scenario(_two, repairs.check),
    "relabel": Scenario(installations.labeled_without_uid, repairs.check),
    "confirm-installation": Scenario(installations.marked_by_another, installations.confirm),
    "collect-metrics": Scenario(serving.serving, repairs.collect),
    "stale-pointer": Scenario(repairs.stale, repairs.repair),
    "lost-is-back": Scenario(repairs.lost, repairs.bring_back),
    "relabel-version": Scenario(repairs.without_labels, repairs.relabel),
    "relabel-service": Scenario(repairs.service_without_labels, repairs.relabel, SLOW),
    "take-over": Scenario(
        repairs.given_other_files, partial(repairs.repair_found, name="take_over"), SLOW
    ),
    "restore-files": Scenario(repairs.other_files, repairs.repair_found),
    "service-is-gone": Scenario(repairs.without_service, repairs.look),
    "adopt": Scenario(repairs.unmanaged, repairs.adopt),
    "adopt-service": Scenario(repairs.unmanaged_and_serving, repairs.adopt_with_service, SLOW),
    "adopt-the-rest": Scenario(repairs.more_versions, repairs.repair_found),
    "take-over-alias": Scenario(repairs.moved_alias, repairs.repair_by("take_over")),
    "put-alias-back": Scenario(repairs.moved_alias, repairs.repair_by("put_back")),
    "delete-unmanaged": Scenario(repairs.unmanaged, repairs.delete_theirs, SLOW),
    "surplus": Scenario(repairs.surplus, repairs.purge, SLOW),
    "leftover": Scenario(repairs.leftover, repairs.repair_found, SLOW),
    "remove-left": Scenario(repairs.left_files, repairs.repair_found),
    "orphan-cleanup": Scenario(repairs.orphan, repairs.clean_up),
    "orphans": Scenario(repairs.orphan, repairs.clean_up_all),
    "artifact-cleanup": Scenario(repairs.old_folders, repairs.clean_up_folders),
}
