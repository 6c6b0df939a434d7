"""The repair of other files than the manifest's: they come back, or nothing changes (law 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud.transport import channels
from ml_platform.models import Finding, Manifest, Operation, TrainingRun
from ml_platform.models.states import RegistryState
from ml_platform.services.artifacts.manifest import take_manifest
from ml_platform.services.repairs.files import NotRestorable
from ml_platform.services.repairs.reconciliation import repair_finding
from ml_platform.services.workflows import WORKFLOWS

from .deploy_tools import finish
from .test_manifest import (
    DATA,
    FILES,
    a_version,
    add,
    delete,
    folder_of,
    found,
    look,
    overwrite,
    remove,
    state,
    swap,
    truncate,
)
from .world import ANA, BUCKET, Clock

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(cloud.clock.now())


def keep(*, soft_days: int, versions: bool) -> None:
    """How the bucket keeps what is overwritten or deleted."""
    bucket = channels.storage_client().get_bucket(BUCKET)
    bucket.versioning_enabled = versions
    bucket.soft_delete_policy.retention_duration_seconds = soft_days * 86400
    bucket.patch()


def repair(clock: Clock) -> Operation:
    [finding] = Finding.objects.open()
    return finish(repair_finding(finding=finding, actor=ANA, now=clock()), clock)


def bytes_of(cloud: LocalCloud, run: TrainingRun) -> dict[str, bytes | None]:
    folder = folder_of(run)
    names = cloud.storage.names(BUCKET, folder)
    return {name.removeprefix(folder): cloud.storage.read(BUCKET, name) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(("soft_days", "versions"), [(7, False), (0, True)])
def test_the_recorded_bytes_come_back_from_what_the_bucket_keeps(
    cloud: LocalCloud, clock: Clock, soft_days: int, versions: bool
) -> None:
    run = a_version(cloud, clock)
    keep(soft_days=soft_days, versions=versions)
    for change in (overwrite, truncate, delete, swap):
        change(cloud, folder_of(run))
        change(cloud, folder_of(run))  # the last but one generation is not the recorded one
        look(clock)
        assert state(run) == RegistryState.CHANGED
        operation = repair(clock)
        assert (operation.status, operation.error) == ("succeeded", ""), change
        assert bytes_of(cloud, run) == FILES
        assert (found(), state(run)) == ([], RegistryState.VERIFIED)
    remove(folder_of(run))  # the whole folder: artifacts_missing
    look(clock)
    assert repair(clock).status == "succeeded"
    assert bytes_of(cloud, run) == FILES
    look(clock)
    assert (found(), state(run)) == ([], RegistryState.VERIFIED)


def refused(cloud: LocalCloud, clock: Clock, run: TrainingRun, *words: str) -> None:
    """The repair fails with these words, and has changed nothing."""
    look(clock)
    before, sent = bytes_of(cloud, run), len(cloud.effects.mutations())
    operation = repair(clock)
    assert (operation.status, operation.error_code) == ("failed", "not_restorable")
    assert all(word in operation.error for word in words), operation.error
    assert (bytes_of(cloud, run), len(cloud.effects.mutations())) == (before, sent)
    assert len(found()) == 1


@pytest.mark.slow
def test_what_cannot_come_back_whole_is_left_as_it_is(cloud: LocalCloud, clock: Clock) -> None:
    run = a_version(cloud, clock)
    overwrite(cloud, folder_of(run))
    add(cloud, folder_of(run))
    refused(cloud, clock, run, "were added", "assets/new")
    remove(f"{folder_of(run)}assets/new")
    keep(soft_days=0, versions=False)
    remove(f"{folder_of(run)}{DATA}")  # of this one nothing is left; of the other there is
    refused(cloud, clock, run, DATA, "neither noncurrent nor soft-deleted")


@pytest.mark.slow
def test_a_file_changed_since_the_look_is_looked_at_again(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_version(cloud, clock)
    swap(cloud, folder_of(run))
    look(clock)
    monkeypatch.setattr("ml_platform.services.repairs.files.BATCH", 1)
    step = WORKFLOWS["restore-files"].step("restore")
    plain, changes = step.run, iter([truncate, None])

    def meanwhile(work: Any) -> Any:
        if change := next(changes, None):
            change(cloud, folder_of(run))
        return plain(work)

    object.__setattr__(step, "run", meanwhile)
    try:
        operation = repair(clock)
    finally:
        object.__setattr__(step, "run", plain)
    assert (operation.status, operation.error) == ("succeeded", "")
    assert bytes_of(cloud, run) == FILES
    assert take_manifest(run.manifest.folder).digest == run.manifest.digest


def test_a_list_that_was_not_kept_and_a_folder_of_others_are_refused_at_once(
    cloud: LocalCloud, clock: Clock
) -> None:
    run = a_version(cloud, clock)
    overwrite(cloud, folder_of(run))
    look(clock)
    [finding] = Finding.objects.open()
    wanted: dict[str, dict[str, Any]] = {
        "its list of files was not kept": {"files": None},
        "a folder of others": {"folder": "gs://theirs/model/", "files": []},
    }
    for words, fields in wanted.items():
        Manifest.objects.filter(run=run).update(**fields)
        with pytest.raises(NotRestorable, match=words) as refusal:
            repair_finding(finding=finding, actor=ANA, now=clock())
        assert "register" in str(refusal.value.advice) or "Restore" in str(refusal.value.advice)
    Manifest.objects.filter(run=run).delete()
    with pytest.raises(NotRestorable, match="no manifest"):
        repair_finding(finding=finding, actor=ANA, now=clock())
    assert not Operation.objects.filter(workflow="restore-files").exists()
