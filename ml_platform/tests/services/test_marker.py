"""The marker object: whose bucket it is, what stops deletions, and what frees them again."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction

from ml_platform.cloud import storage
from ml_platform.errors import CloudConflict
from ml_platform.models import Installation, Operation
from ml_platform.models.states import OperationStatus
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.installation import marker
from ml_platform.services.installation.confirm import confirm_installation
from ml_platform.services.installation.identity import current
from ml_platform.services.installation.marker import (
    InstallationUnconfirmed,
    MarkerUnknown,
    renew_marker,
    require_ours,
)
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.operations.worker import resume_operations

from .installations import MARKER, a_bucket, backup, marker_of, restore
from .world import ANA, BUCKET, Clock, a_lineage, artifacts, settle, vertex_versions

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
DAY = 86_400


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    a_bucket()
    return Clock()


def writes(cloud: LocalCloud) -> int:
    return int(cloud.effects.count("storage.objects.insert"))


def test_there_is_one_row_whatever_is_inserted():
    row = current()
    assert current().uid == row.uid
    with pytest.raises(IntegrityError), transaction.atomic():
        Installation.objects.create(pk=2)


def test_a_new_bucket_is_claimed_and_the_marker_is_replaced_once_a_day_and_before_deletions(
    cloud: LocalCloud, clock: Clock
):
    renew_marker(clock=clock)
    first = marker_of(cloud)
    assert (first["uid"], first["name"]) == (current().uid.hex, "tests")
    assert (current().nonce, current().next_nonce) == (first["nonce"], "")
    clock.forward(3600)
    renew_marker(clock=clock)
    assert marker_of(cloud) == first
    require_ours(clock=clock)
    second = marker_of(cloud)
    assert second["nonce"] != first["nonce"]
    require_ours(clock=clock)  # the next chunk of the same deletion
    assert marker_of(cloud) == second
    clock.forward(DAY)
    renew_marker(clock=clock)
    assert marker_of(cloud)["nonce"] not in (first["nonce"], second["nonce"])
    assert writes(cloud) == 3


@pytest.mark.parametrize("written", [False, True], ids=["before the write", "after the write"])
def test_a_crash_between_the_commit_and_the_write_or_after_it_stops_nothing(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch, written: bool
):
    require_ours(clock=clock)
    clock.forward(120)

    def crash(*args: Any, **options: Any) -> None:
        if written:
            write(*args, **options)
        raise KeyboardInterrupt

    write = storage.write_text
    monkeypatch.setattr(storage, "write_text", crash)
    with pytest.raises(KeyboardInterrupt):
        require_ours(clock=clock)
    monkeypatch.undo()
    promised = current().next_nonce
    assert promised
    assert (marker_of(cloud)["nonce"] == promised) is written
    require_ours(clock=clock)
    assert (current().nonce, current().next_nonce) == (promised, "")
    assert marker_of(cloud)["nonce"] == promised


@pytest.mark.slow
def test_a_restored_backup_deletes_nothing_until_a_person_confirms_it(
    cloud: LocalCloud, clock: Clock
):
    lineage, [run] = a_lineage(cloud, clock)
    require_ours(clock=clock)
    old = backup()
    clock.forward(120)
    require_ours(clock=clock)
    restore(old)
    deletion = delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())
    settle(clock)
    deletion.refresh_from_db()
    assert (deletion.status, deletion.error_code) == ("failed", "installation_unconfirmed")
    assert "confirm_installation" in deletion.advice
    run.refresh_from_db()
    assert run.registration == "registered"
    assert vertex_versions(lineage) == {"1": ("default",)}
    assert artifacts(cloud, run)
    confirmed = confirm_installation(actor=ANA, clock=clock)
    settle(clock)
    confirmed.refresh_from_db()
    assert confirmed.status == OperationStatus.SUCCEEDED
    assert f"installation {old['uid'].hex}" in confirmed.data["found"]
    assert (current().stopped_at, current().confirmed_by) == (None, "ana")
    retry_operation(operation=deletion, actor=ANA)
    settle(clock)
    deletion.refresh_from_db()
    assert deletion.status == OperationStatus.SUCCEEDED
    assert artifacts(cloud, run) == []


def test_a_refused_deletion_marks_nothing(cloud: LocalCloud, clock: Clock):
    lineage, [run] = a_lineage(cloud, clock)
    cloud.storage.write(BUCKET, MARKER, b'{"uid": "abc", "nonce": "1"}')
    deletion = delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())
    resume_operations(clock=clock)
    deletion.refresh_from_db()
    assert [(entry["step"], entry["status"]) for entry in deletion.steps] == [("check", "failed")]


def test_of_a_database_and_its_copy_the_one_that_is_confirmed_goes_on(
    cloud: LocalCloud, clock: Clock
):
    require_ours(clock=clock)
    copied = backup()
    clock.forward(120)
    require_ours(clock=clock)
    original = backup()
    restore(copied)
    with pytest.raises(InstallationUnconfirmed, match="did not write"):
        require_ours(clock=clock)
    confirm_installation(actor=ANA, clock=clock)
    settle(clock)
    require_ours(clock=clock)
    restore(original)
    with pytest.raises(InstallationUnconfirmed):
        require_ours(clock=clock)
    said = marker_of(cloud)
    with pytest.raises(InstallationUnconfirmed):  # it stays, whatever the marker says later
        require_ours(clock=clock)
    assert marker_of(cloud) == said


def test_the_marker_of_another_installation_is_never_replaced(cloud: LocalCloud, clock: Clock):
    theirs = json.dumps({"uid": "f" * 32, "nonce": "0" * 32, "name": "shop"})
    cloud.storage.write(BUCKET, MARKER, theirs.encode())
    for _ in range(2):
        with pytest.raises(InstallationUnconfirmed, match="shop"):
            require_ours(clock=clock)
    assert cloud.storage.read(BUCKET, MARKER) == theirs.encode()
    assert writes(cloud) == 0


@pytest.mark.slow
@pytest.mark.any_database
@pytest.mark.parametrize(
    "trouble",
    ["denied", "unavailable", "missing", "no JSON", "a list", "no nonce", "too long"],
)
def test_a_marker_that_cannot_be_read_makes_a_deletion_wait_and_not_fail(
    cloud: LocalCloud, clock: Clock, trouble: str
):
    lineage, [run] = a_lineage(cloud, clock)
    require_ours(clock=clock)
    kept = cloud.storage.read(BUCKET, MARKER)
    clock.forward(120)
    faults = {"denied": "PERMISSION_DENIED", "unavailable": "UNAVAILABLE"}
    texts = {
        "no JSON": b"{",
        "a list": b"[]",
        "no nonce": b'{"uid": ""}',
        "too long": b" " * 20_000,
    }
    if code := faults.get(trouble):
        cloud.faults.order("storage.objects.get", "error", code, times=None)
    elif trouble == "missing":
        storage.delete_objects(BUCKET, [(MARKER, generation(cloud))])
    else:
        cloud.storage.write(BUCKET, MARKER, texts[trouble])
    with pytest.raises(MarkerUnknown):
        require_ours(clock=clock)
    deletion = delete_versions(lineage=lineage, runs=[run], actor=ANA, now=clock())
    for _ in range(8):
        resume_operations(clock=clock)
        clock.forward(400)
    deletion.refresh_from_db()
    assert (deletion.status, deletion.error_code) == ("running", "marker_unknown")
    assert current().stopped_at is None
    assert bool(current().stopped_reason) is (trouble == "missing")
    assert vertex_versions(lineage)
    assert artifacts(cloud, run)
    cloud.faults.clear()
    cloud.storage.write(BUCKET, MARKER, kept or b"")
    settle(clock)
    deletion.refresh_from_db()
    assert deletion.status == OperationStatus.SUCCEEDED
    assert current().stopped_reason == ""


def generation(cloud: LocalCloud) -> int:
    [page] = storage.list_objects(BUCKET, MARKER)
    return int(page[0].generation)


def test_a_bucket_that_does_not_exist_is_unknown(cloud: LocalCloud, clock: Clock, settings: Any):
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "BUCKET": "no-such-bucket"}
    with pytest.raises(MarkerUnknown):
        require_ours(clock=clock)


def test_another_bucket_is_claimed_too(cloud: LocalCloud, clock: Clock, settings: Any):
    require_ours(clock=clock)
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "ARTIFACTS_PREFIX": "ml/runs"}
    require_ours(clock=clock)
    text = cloud.storage.read(BUCKET, f"ml/{MARKER}") or b""
    assert json.loads(text)["uid"] == current().uid.hex


def test_no_cleanup_takes_the_marker_for_a_stray(cloud: LocalCloud, clock: Clock):
    cloud.storage.write(BUCKET, "runs/stray/x", b"x")
    clock.now = cloud.clock.now()
    clock.forward(30 * DAY)
    done = clean_up_artifacts(days=7, actor=ANA, clock=clock, delete_strays=True)
    assert done.strays_deleted == 1
    assert cloud.storage.names(BUCKET) == [MARKER]
    clock.forward(30 * DAY)
    done = clean_up_artifacts(days=7, actor=ANA, clock=clock, delete_strays=True)
    assert (done.strays_found, cloud.storage.names(BUCKET)) == (0, [MARKER])


def test_a_write_of_another_process_between_look_and_write_is_no_copy(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    require_ours(clock=clock)
    clock.forward(120)
    write = storage.write_text
    raced: list[bool] = []

    def race(*args: Any, **options: Any) -> Any:
        if not raced:
            raced.append(True)
            monkeypatch.setattr(storage, "write_text", write)
            require_ours(clock=clock)
        return write(*args, **options)

    monkeypatch.setattr(storage, "write_text", race)
    require_ours(clock=clock)
    assert current().stopped_at is None
    assert marker_of(cloud)["nonce"] == current().nonce


def test_a_marker_that_another_database_puts_between_look_and_write_stays(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    theirs, write = b'{"uid": "abc", "nonce": "1", "name": "shop"}', storage.write_text

    def race(*args: Any, **options: Any) -> Any:
        cloud.storage.write(BUCKET, MARKER, theirs)
        return write(*args, **options)

    monkeypatch.setattr(storage, "write_text", race)
    with pytest.raises(InstallationUnconfirmed, match="shop"):
        require_ours(clock=clock)
    assert cloud.storage.read(BUCKET, MARKER) == theirs


@pytest.mark.django_db(transaction=True)
def test_processes_that_check_at_once_agree_on_one_nonce(cloud: LocalCloud, clock: Clock):
    require_ours(clock=clock)
    clock.forward(120)
    failed: list[BaseException] = []

    def check() -> None:
        try:
            require_ours(clock=clock)
        except CloudConflict as error:  # pragma: no cover - what the test looks for
            failed.append(error)
        except InstallationUnconfirmed as error:  # pragma: no cover
            failed.append(error)
        except MarkerUnknown:
            pass  # each of three tries met another process; the step is tried again
        finally:
            connection.close()

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert current().stopped_at is None
    assert marker_of(cloud)["nonce"] in (current().nonce, current().next_nonce)
    assert Operation.objects.count() == 0
    assert marker.read_marker().uid == current().uid.hex
