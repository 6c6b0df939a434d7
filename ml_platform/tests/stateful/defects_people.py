"""Defects that forget people, their files or their labels: the patches that make each so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from .defects import nothing, swap


def foreign_is_deleted() -> list[Any]:
    return [
        swap("deletion.steps.refused_versions", lambda runs: {}),
        swap("deletion.steps.require_deletable", nothing),
    ]


def foreign_gets_alias() -> list[Any]:
    return [swap("registry.aliases.is_version_of", lambda *_: True)]


def foreign_gets_version() -> list[Any]:
    return [swap("registration.upload.require_ours", nothing)]


def foreign_is_gone() -> list[Any]:
    """What is not ours is read as NOT_FOUND."""
    from ml_platform.errors import CloudAbsent
    from ml_platform.services.registry.verification import ForeignVersion
    from ml_platform.services.registry.verification import find_version as original

    def guess(*, run: Any) -> Any:
        try:
            return original(run=run)
        except ForeignVersion as foreign:
            raise CloudAbsent(str(foreign)) from foreign

    return [swap("deployment.steps.find_version", guess)]


def copy_is_ours() -> list[Any]:
    from ml_platform.services.ownership.own_resources import OwnModels

    return [patch.object(OwnModels, "holds", lambda *_: True)]


def variables_only() -> list[Any]:
    """Of a service only its variables are read, not its arguments."""

    def read(raw: Any) -> tuple[str, ...]:
        return tuple(env.value for container in raw.containers for env in container.env)

    return [
        patch(f"ml_platform.cloud.{module}.read_texts", read)
        for module in ("run_messages", "cloud_run")
    ]


def newest_revision_only() -> list[Any]:
    return [swap("removal.references._texts", lambda service: list(service.texts))]


def default_version_only() -> list[Any]:
    return [swap("removal.references._versions", lambda _: [])]


def gs_addresses_only() -> list[Any]:
    import re

    return [swap("removal.references._ADDRESS", re.compile(r"gs://[^\s\"'`,;<>|(){}\[\]]+"))]


def own_labels_only() -> list[Any]:
    """Models without our owner label use nothing."""
    from ml_platform.services.removal import references

    original = references._of_models

    def ours(*given: Any) -> Iterator[Any]:
        return (found for found in original(*given) if found[1].run_uid)

    return [swap("removal.references._of_models", ours)]


def services_use_nothing() -> list[Any]:
    return [swap("removal.references._of_services", lambda _: iter(()))]


def cleanup_asks_nobody() -> list[Any]:
    return [swap("cleanup.artifacts.reason_of_users", lambda *_: "")]


def strays_ask_nobody() -> list[Any]:
    from ml_platform.services.removal.references import Pointers

    return [swap("cleanup.strays.read_pointers", lambda **_: Pointers())]


def files_are_believed() -> list[Any]:
    from ml_platform.models.registry.manifest import FilesState
    from ml_platform.services.sweeps.planes.artifacts import Look

    return [swap("sweeps.planes.artifacts._look_in_mirror", lambda *_: Look(FilesState.VERIFIED))]


def manifest_follows() -> list[Any]:
    """A sweep takes the files of today for the version's."""
    from ml_platform.models import Manifest
    from ml_platform.models.registry.manifest import FilesState
    from ml_platform.services.artifacts.manifest import take_manifest
    from ml_platform.services.sweeps.planes import artifacts

    original = artifacts._write

    def renewing(reading: Any, looks: Any, **how: Any) -> None:
        original(reading, looks, **how)
        for row, seen in looks:
            if seen.state == FilesState.CHANGED:
                taken = take_manifest(row.folder, needs="")
                Manifest.objects.filter(pk=row.pk).update(digest=taken.digest, files=taken.files)

    return [swap("sweeps.planes.artifacts._write", renewing)]


def checksums_left_out() -> list[Any]:
    from ml_platform.services.artifacts.manifest import Taken

    original = Taken.add

    def add(self: Taken, name: str, item: Any) -> None:
        original(self, name, replace(item, crc32c="none"))

    return [patch.object(Taken, "add", add)]


def difference_is_not_told() -> list[Any]:
    return [swap("findings.discrepancy.compare_artifacts", nothing)]


def missing_is_verified() -> list[Any]:
    """A version of which files are missing is taken for verified."""
    from ml_platform.models.registry.manifest import FilesState

    def state(difference: Any) -> FilesState:
        missing = set(difference) == {"missing"}
        return FilesState.VERIFIED if missing else FilesState.CHANGED

    return [swap("sweeps.planes.artifacts.state_after", state)]


def deploy_compares_nothing() -> list[Any]:
    return [swap("deployment.same_files.difference_from_manifest", lambda *_: "")]


def compared_once() -> list[Any]:
    """What happens to the files between the comparison and the traffic is not looked at."""
    return [swap("deployment.rollout.replaced_while_starting", lambda *_: "")]


def waits_for_ever() -> list[Any]:
    return [swap("operations.engine._require_patience", nothing)]


def withdrawn_is_deployed() -> list[Any]:
    from ml_platform.models import TrainingRun

    return [patch.object(TrainingRun, "is_accepted", property(lambda _: True))]


def pause_is_believed() -> list[Any]:
    """A sweep takes the jobs of schedules for what they were."""
    return [swap("sweeps.planes.jobs.compare_schedule", nothing)]


def labels_are_replaced() -> list[Any]:
    """A deploy writes its labels in place of all that are there."""
    return _after_writing(lambda message, spec: _replace(message.labels, spec.labels))


def variables_are_replaced() -> list[Any]:
    def keep_ours(message: Any, spec: Any) -> None:
        container = message.template.containers[0]
        for env in [env for env in container.env if env.name not in spec.env]:
            container.env.remove(env)

    return _after_writing(keep_ours)


def description_is_dropped() -> list[Any]:
    return _after_writing(lambda message, _: message.ClearField("description"))


def annotations_are_dropped() -> list[Any]:
    return _after_writing(lambda message, _: message.annotations.clear())


def change_is_unseen() -> list[Any]:
    return [swap("sweeps.planes.services.compare_seen", lambda *_: ())]


def take_over_forgets() -> list[Any]:
    return [swap("repairs.changed_services.take_over", lambda config, *_: config)]


def _replace(labels: Any, ours: Any) -> None:
    labels.clear()
    labels.update(ours)


def _after_writing(spoil: Callable[[Any, Any], object]) -> list[Any]:
    from ml_platform.cloud import cloud_run
    from ml_platform.cloud.run_messages import write_spec as original

    def write(message: Any, spec: Any, **given: Any) -> None:
        original(message, spec, **given)
        spoil(message, spec)

    return [patch.object(cloud_run, "write_spec", write)]


def refused_is_done() -> list[Any]:
    """An object that may not be deleted counts as deleted."""
    return [swap("removal.steps.why_left", lambda _: "")]


def marker_not_asked() -> list[Any]:
    return [swap("installation.marker.require_ours", nothing)]


def uid_not_compared() -> list[Any]:
    """Who has our INSTALLATION is us."""
    from ml_platform.services.installation.identity import Identity

    def by_name(self: Identity, owner: str, installation: str) -> bool:
        del installation
        return bool(owner) and owner != self.name

    return [patch.object(Identity, "is_another", by_name)]


FILES = ("edit_files", "sweep_all", "deploy", "redeploy")
SHARED = ("share_folder", "strange_upload", "strange_folder", "delete_one", "clean_up")
LABELS = ("relabel", "register", "delete_one", "move_alias", "deploy")
DEFECTS: tuple[tuple[tuple[str, ...], dict[str, tuple[str, Callable[[], list[Any]]]]], ...] = (
    (
        LABELS,
        {
            "foreign-is-deleted": ("a version goes whosever it is", foreign_is_deleted),
            "foreign-gets-alias": ("an alias is moved to a foreign version", foreign_gets_alias),
            "foreign-gets-version": ("a version goes into a foreign model", foreign_gets_version),
            "foreign-is-gone": ("a foreign version is read as not found", foreign_is_gone),
        },
    ),
    (
        ("copy_model", "sweep_all", "repair"),
        {"copy-is-ours": ("what has our labels is ours", copy_is_ours)},
    ),
    (
        SHARED,
        {
            "variables-only": ("arguments of services are not read", variables_only),
            "newest-revision-only": ("a newest revision speaks for all", newest_revision_only),
            "default-version-only": ("a default version speaks for all", default_version_only),
            "gs-addresses-only": ("/gcs/ and https addresses are not read", gs_addresses_only),
            "own-labels-only": ("models without our labels use nothing", own_labels_only),
            "services-use-nothing": ("services are not read", services_use_nothing),
            "cleanup-asks-nobody": ("a cleanup does not ask who uses files", cleanup_asks_nobody),
            "strays-ask-nobody": ("strays go whoever uses them", strays_ask_nobody),
        },
    ),
    (
        FILES,
        {
            "files-are-believed": ("a sweep compares no files", files_are_believed),
            "manifest-follows": ("a sweep renews the manifest", manifest_follows),
            "checksums-left-out": ("a manifest has names and sizes only", checksums_left_out),
            "difference-not-told": ("other files are no finding", difference_is_not_told),
            "missing-is-verified": ("missing files are verified", missing_is_verified),
            "deploy-compares-nothing": ("a deploy compares no files", deploy_compares_nothing),
        },
    ),
    (
        ("edit_what_is_deployed", "slow", "deploy", "redeploy"),
        {"compared-once": ("files are not compared before the traffic", compared_once)},
    ),
    (
        ("never_ends", "deploy", "delete_one"),
        {"waits-for-ever": ("what never ends is waited for", waits_for_ever)},
    ),
    (
        ("decide", "deploy", "redeploy"),
        {"withdrawn-is-deployed": ("a deploy asks no judgement", withdrawn_is_deployed)},
    ),
    (
        ("plan", "meddle_with_job", "sweep_all"),
        {"pause-is-believed": ("a job is not compared with its schedule", pause_is_believed)},
    ),
    (
        ("edit_service", "deploy", "redeploy"),
        {
            "labels-are-replaced": ("a deploy drops others' labels", labels_are_replaced),
            "variables-are-replaced": ("a deploy drops others' variables", variables_are_replaced),
            "description-is-dropped": ("a deploy drops the description", description_is_dropped),
            "annotations-are-dropped": ("a deploy drops annotations", annotations_are_dropped),
        },
    ),
    (
        ("edit_and_deploy", "sweep_all", "repair"),
        {
            "change-is-unseen": ("what others change of ours is no finding", change_is_unseen),
            "take-over-forgets": ("a take-over keeps our settings", take_over_forgets),
        },
    ),
    (
        ("hold", "delete_one", "delete_all"),
        {
            "refused-is-done": ("an object that may not go counts as gone", refused_is_done),
        },
    ),
    (
        ("take_backup", "restore_backup", "delete_one", "undeploy"),
        {"marker-not-asked": ("a restored backup deletes as before", marker_not_asked)},
    ),
    (
        ("neighbour_works", "sweep_all"),
        {"uid-not-compared": ("an installation of our name is us", uid_not_compared)},
    ),
)
"""The turns that meet the defects, and name -> (what is wrong, its patches)."""
