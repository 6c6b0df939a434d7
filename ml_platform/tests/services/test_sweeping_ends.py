"""How a sweep ends: killed, by an exception, with its connection; and what it leaves out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import Error, connection
from django.test import Client

from ml_platform.models import Finding, MirroredModel, Operation, RegisteredModel, Sweep
from ml_platform.models.clock import database_now
from ml_platform.models.states import RegistryState, SweepStatus
from ml_platform.services.findings.discrepancy import Discrepancy
from ml_platform.services.findings.endings import close_unseen
from ml_platform.services.findings.exclusions import UNSTORED
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import keep_findings
from ml_platform.services.operations.store import Actor, Busy
from ml_platform.services.operations.work import Clock, Heartbeat
from ml_platform.services.sweeps.operation import check_registry_here
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import RegisteredModelFactory, version_of

from .vertex_rows import managed

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db(transaction=True)
ANA = Actor(label="ana", origin="command")
LONG = timedelta(hours=1)
SWEEPS = """
import django
django.setup()
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps.operation import check_registry_here
check_registry_here(actor=Actor(label="bea", origin="page"), clock=database_now)
"""


def look(clock: Clock = database_now, heartbeat: Heartbeat = lambda: None) -> Sweep:
    return sweep(actor=ANA, clock=clock, heartbeat=heartbeat)


def later() -> datetime:
    return database_now() + LONG


@pytest.fixture
def dead(cloud: LocalCloud) -> Sweep:
    """A sweep that was checking the registry when its process was killed."""
    managed(cloud)
    cloud.faults.order("Services.ListServices", "hang", times=None)
    child = subprocess.Popen([sys.executable, "-c", SWEEPS])
    until = monotonic() + 60
    while not cloud.effects.count("Services.ListServices"):
        assert monotonic() < until
        assert child.poll() is None
    child.kill()
    child.wait()
    cloud.faults.clear()
    return Sweep.objects.get()


def states(now: datetime) -> list[str]:
    rows = Sweep.objects.with_state(now=now).order_by("pk")
    return [row.state for row in rows]  # type: ignore[attr-defined]


def let_leases_run_out() -> None:
    """As if the hour were over."""
    Sweep.objects.filter(status="running").update(lease_until=database_now() - LONG)
    Operation.objects.filter(status="running").update(lease_until=database_now() - LONG)


@pytest.mark.slow
def test_a_killed_sweep_is_not_said_to_run_once_its_lease_is_over(
    dead: Sweep, admin_client: Client
) -> None:
    assert (dead.status, states(database_now())) == ("running", ["running"])
    assert states(later()) == ["interrupted"]
    assert "Did not finish" not in text_of(admin_client)
    let_leases_run_out()
    assert "Did not finish" in text_of(admin_client)
    assert "Running" not in text_of(admin_client).partition("mlp-sweeps-title")[2]
    answer = admin_client.get("/api/audit/").json()
    assert answer["sweep"] is None, "it says nothing of the planes"


def text_of(client: Client) -> str:
    return client.get("/registry-health/").content.decode()


@pytest.mark.slow
def test_the_next_sweep_waits_for_nobody_and_says_that_the_killed_one_ended(
    dead: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("audit_registry", format="json")
    assert json.loads(capsys.readouterr().out)["verdict"] == "agree"
    assert states(database_now()) == ["running", "complete"], "its lease is not over"
    let_leases_run_out()
    look()
    assert states(database_now()) == ["interrupted", "complete", "complete"]
    dead.refresh_from_db()
    assert (dead.status, dead.finished_at is not None) == ("interrupted", True)


@pytest.mark.slow
def test_whoever_checks_next_goes_on_with_the_check_whose_worker_was_killed(dead: Sweep) -> None:
    with pytest.raises(Busy):
        check_registry_here(actor=ANA, clock=database_now)
    let_leases_run_out()
    operation = check_registry_here(actor=ANA, clock=database_now)
    assert (operation.status, operation.actor_label) == ("succeeded", "bea")
    assert states(database_now()) == ["interrupted", "complete"]
    assert Operation.objects.count() == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_one_that_an_exception_ends_says_so_at_once(
    cloud: LocalCloud, error: type[BaseException]
) -> None:
    managed(cloud)

    def die() -> None:
        raise error("now")

    with pytest.raises(error, match="now"):
        look(heartbeat=die)
    assert Sweep.objects.get().status == SweepStatus.INTERRUPTED
    assert look().status == "complete"


def test_one_whose_connection_breaks_says_so_over_a_new_one(
    cloud: LocalCloud, caplog: pytest.LogCaptureFixture
) -> None:
    managed(cloud)

    def cut() -> None:
        assert connection.connection is not None
        connection.connection.close()

    try:
        with pytest.raises(Error):
            look(heartbeat=cut)
    finally:
        connection.close()  # whatever became of it, the other tests have a new one
    ended = Sweep.objects.get()
    assert (ended.status, ended.finished_at is not None) == ("interrupted", True)
    [logged] = [one for one in caplog.records if one.name == "ml_platform.jobs"]
    assert logged.exc_info is None  # one sentence: the restart of a database is no defect
    assert logged.getMessage().endswith("; its lease will end.")


def test_a_sweep_renews_its_lease_and_one_beside_it_takes_it_for_living(cloud: LocalCloud) -> None:
    managed(cloud)
    hours, seen = [0], list[datetime]()

    def clock() -> datetime:
        return database_now() + LONG * hours[0]

    def heartbeat() -> None:
        hours[0] += 1
        if Sweep.objects.count() == 1:
            lease = Sweep.objects.get().lease_until
            assert lease is not None
            seen.append(lease)

    look(clock=clock, heartbeat=heartbeat)
    assert seen == sorted(set(seen))
    assert len(seen) > 3, "between planes, and between what is compared"


def test_one_that_stood_still_and_was_taken_for_dead_ends_as_what_it_is(cloud: LocalCloud) -> None:
    managed(cloud)

    def heartbeat() -> None:
        if Sweep.objects.count() == 1:
            look(clock=later)
            assert Sweep.objects.earliest("pk").status == SweepStatus.INTERRUPTED

    assert look(heartbeat=heartbeat).status == SweepStatus.COMPLETE
    assert states(database_now()) == ["complete", "complete"]


# ---- what cannot be stored -----------------------------------------------------------------------


@contextmanager
def one_of_a_kind(table: str, column: str) -> Iterator[None]:
    """Have the database refuse a second row with the same value: any other reason would do."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE UNIQUE INDEX refused_{table} ON {table} ({column})")
        try:
            yield
        finally:
            cursor.execute(f"DROP INDEX refused_{table}")


def test_a_model_that_cannot_be_stored_is_left_out_and_nothing_is_concluded_of_it(
    cloud: LocalCloud,
) -> None:
    first, second = (managed(cloud, model_name="twin") for _ in range(2))
    missing = RegisteredModelFactory.create(model_name="missing")
    version_of(missing)
    ids = [m.vertex_model_resource_name.rpartition("/")[2] for m in (first, second)]
    good, bad = sorted(ids)
    with one_of_a_kind("ml_platform_mirroredmodel", "display_name"):
        done = look()
    assert (done.status, done.planes["vertex"]["read"], done.counts["vertex"]) == (
        "complete",
        True,
        1,
    )
    told = done.planes["vertex"]["left_out"]
    assert [one["what"] for one in told] == [bad]
    assert told[0]["why"].startswith("it could not be stored: ")
    assert {"what": "twin", "why": UNSTORED} in done.counts["left_out"]
    found = {m.vertex_model_resource_name.rpartition("/")[2]: m for m in all_models()}
    assert found[good].registry_state == RegistryState.VERIFIED
    assert found[bad].registry_state == RegistryState.UNCHECKED
    assert [f.registered_model for f in stale()] == [missing]


def all_models() -> list[RegisteredModel]:
    return list(RegisteredModel.objects.filter(model_name="twin"))


def stale() -> list[Finding]:
    return list(Finding.objects.open().filter(kind=FindingKind.STALE_POINTER))


def test_what_the_mirror_knew_of_it_stays(cloud: LocalCloud) -> None:
    for name in ("7", "8"):
        cloud.models.seed(name, display_name="theirs")
    look()
    MirroredModel.objects.filter(model_id="8").update(display_name="as it was", content="")
    with one_of_a_kind("ml_platform_mirroredmodel", "display_name"):
        done = look()
    assert [one["what"] for one in done.planes["vertex"]["left_out"]] == ["8"]
    assert set(MirroredModel.objects.values_list("display_name", flat=True)) == {
        "theirs",
        "as it was",
    }
    seen = {
        f.subject.rpartition("/")[2]: (f.status, f.consecutive_sightings)
        for f in Finding.objects.all()
    }
    assert seen == {"7": ("open", 2), "8": ("open", 1)}


def test_a_service_and_a_folder_that_cannot_be_stored_are_left_out(cloud: LocalCloud) -> None:
    from ml_platform.cloud import cloud_run
    from ml_platform.cloud.types import ServiceSpec

    for _ in range(2):
        managed(cloud)
    for name in ("one", "two"):
        spec = ServiceSpec(image="image", labels={"mlp_owner": "tests", "mlp_run": "a" * 32})
        cloud_run.create_service(name, spec)
    with (
        one_of_a_kind("ml_platform_mirroredservice", "run_uid"),
        one_of_a_kind("ml_platform_mirroredartifacts", "seen_sweep_id"),
    ):
        done = look()
    assert [len(done.planes[name]["left_out"]) for name in ("gcs", "cloud_run")] == [1, 1]
    assert done.planes["cloud_run"]["left_out"][0]["what"] == "two"
    found = Finding.objects.filter(kind=FindingKind.ARTIFACTS_MISSING)
    assert not found.exists(), "the folder was there"


def drift(subject: str, **given: Any) -> Discrepancy:
    values = {"title": subject, "repair": "None.", "evidence": {}}
    return Discrepancy(kind=FindingKind.UNMANAGED, subject=subject, **values | given)


def test_a_finding_that_cannot_be_stored_does_not_keep_the_others_from_it() -> None:
    of = Sweep.objects.create(actor_label="ana", started_at=database_now())
    drifts = [drift(f"model {n}") for n in range(9)]
    drifts[4] = drift("model 4", lineage_id=10**9)
    left = keep_findings(found=drifts, sweep=of, now=database_now())
    assert [one.what for one in left] == ["model 4"]
    assert Finding.objects.count() == 8


def test_a_finding_that_cannot_be_brought_up_to_date_stays_as_it_was() -> None:
    first = Sweep.objects.create(actor_label="ana", started_at=database_now())
    keep_findings(found=[drift("a"), drift("b")], sweep=first, now=database_now())
    second = Sweep.objects.create(actor_label="ana", started_at=later())
    seen = [drift("a", lineage_id=10**9), drift("b")]
    assert [one.what for one in keep_findings(found=seen, sweep=second, now=later())] == ["a"]
    found = Finding.objects.order_by("subject").values_list(
        "subject", "consecutive_sightings", "last_sweep"
    )
    assert list(found) == [("a", 1, second.pk), ("b", 2, second.pk)]
    assert close_unseen(kinds=[FindingKind.UNMANAGED], sweep=second, now=later()) == 0
