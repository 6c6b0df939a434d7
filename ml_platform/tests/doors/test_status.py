"""The status: a command, a path of the API and a line on the starting page; words on operations."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.system import SET_UP_JOB
from ml_platform.cloud import scheduler
from ml_platform.models import Installation, Operation
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.status.google import PROBES
from ml_platform.tests.factories import ProjectFactory
from ml_platform.tests.incident_rows import finished_sweep

from .api_tools import bearer, keeps_contract, member_of

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
PATH = "/api/system/status/"
NO_WORKER = "No worker has taken work for 12 min. Start `manage.py db_worker`."


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("platform_status", *arguments, stdout=out)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def by_name(said: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item for item in said["items"]}


def states(said: dict[str, Any]) -> dict[str, str]:
    """Those that are neither fine nor unused."""
    return {
        item["name"]: item["state"]
        for item in said["items"]
        if item["state"] not in ("fine", "unused")
    }


def stalled_operation(**changes: Any) -> Operation:
    due = database_now() - timedelta(minutes=12, seconds=5)
    values = {
        "kind": "cleanup", "status": "running", "step": "list", "actor_label": "ana",
        "origin": "page", "subject_name": "x", "created_at": due - timedelta(hours=3),
        "started_at": due - timedelta(hours=3), "next_attempt_at": due,
        "steps": [{"step": "list", "title": "List", "status": "running"}],
    }  # fmt: skip
    return Operation.objects.create(**{**values, **changes})


@pytest.fixture
def admin() -> Any:
    return get_user_model().objects.create_superuser("root", password="pw")


@pytest.fixture
def good(cloud: LocalCloud, settings: Any) -> LocalCloud:
    """A cloud that answers, and a sweep that read it."""
    cloud.storage.write("demo-artifacts", "runs/a", b"a")
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "http://127.0.0.1:9/ml/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["ringer@demo-project.iam.gserviceaccount.com"],
        "RETRY_TIMEOUT": 0.0,
    }
    sweep(actor=Actor(label="ana", origin="command"), clock=database_now)
    return cloud


def test_all_is_well_in_the_table_in_json_and_in_the_api(good: LocalCloud, admin: Any):
    code, text = run()
    assert (code, "All is well." in text) == (0, True), text
    code, text = run("--json")
    said = json.loads(text)
    assert (code, said["state"], said["live"], states(said)) == (0, "fine", True, {})
    assert by_name(said)["vertex"]["permission"] == "aiplatform.models.list"
    live = bearer(admin).get(f"{PATH}?verify=live")
    keeps_contract(live, PATH)
    assert [item["name"] for item in live.json()["items"]] == list(by_name(said))
    calls = len(good.effects.calls())
    quiet = bearer(admin).get(PATH)
    keeps_contract(quiet, PATH)
    assert len(good.effects.calls()) == calls
    assert (quiet.json()["state"], quiet.json()["live"]) == ("fine", False)
    assert not {probe.name for probe in PROBES} & set(by_name(quiet.json()))


def test_only_administrators_who_see_all_projects_read_it():
    project = ProjectFactory.create()
    assert Client().get(PATH).status_code == 401
    viewer, one = (bearer(member_of(project, *rights)) for rights in ((Right.VIEW,), ()))
    assert [viewer.get(PATH).json()["code"], one.get(PATH).json()["code"]] == [
        "right_missing",
        "needs_everything",
    ]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_refusal_names_the_permission_and_is_unknown(good: LocalCloud, probe: Any):
    good.faults.order(probe.method, "error", code="PERMISSION_DENIED", times=None)
    code, text = run("--json")
    item = by_name(json.loads(text))[probe.name]
    assert (code, item["state"]) == (2, "unknown")
    assert f"{probe.method}: PERMISSION_DENIED" in item["detail"]
    assert f"{probe.permission}, as {probe.role} has it" in item["advice"]


def test_the_permissions_are_those_of_the_local_cloud():
    from ml_platform.localcloud.core.access.permissions import METHODS, ROLES, STORAGE

    for probe in PROBES:
        known = STORAGE.get(probe.method)
        needed = f"storage.{known[0][0]}" if known else METHODS[probe.method]
        assert needed == probe.permission
        assert needed in ROLES[probe.role]


def test_google_that_is_away_is_unknown_and_a_person_goes_first(good: LocalCloud, settings: Any):
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "LOCAL_CLOUD": "127.0.0.1:9",
        "LOCAL_CLOUD_HTTP": "http://127.0.0.1:9",
    }
    code, text = run("--json")
    unknown = {probe.name for probe in PROBES}
    assert (code, states(json.loads(text))) == (2, dict.fromkeys(unknown, "unknown"))
    stalled_operation()
    code, text = run("--json")
    said = json.loads(text)
    assert (code, said["state"]) == (1, "attention")
    assert by_name(said)["worker"]["detail"] == NO_WORKER
    assert by_name(said)["operations"]["state"] == "attention"


def test_a_job_that_somebody_paused_needs_a_person_at_once(good: LocalCloud):
    perform(SET_UP_JOB, "audit-registry", None, Caller.system("test"))
    assert run("--json")[0] == 0
    scheduler.pause_job("audit-registry")
    code, text = run("--json")
    job = by_name(json.loads(text))["job_audit-registry"]
    assert (code, job["detail"]) == (1, "The job audit-registry is paused in Cloud Scheduler.")
    scheduler.delete_job("audit-registry")
    code, text = run("--json")
    assert (code, states(json.loads(text))) == (1, {"job_audit-registry": "attention"})


def test_what_a_sweep_could_not_read_and_an_old_one(admin: Any):
    now = database_now()
    api = bearer(admin)
    assert states(api.get(PATH).json()) == {"sweep": "attention"}
    sweep = finished_sweep(now - timedelta(hours=4))
    assert states(api.get(PATH).json()) == {"sweep": "attention"}
    planes = {**sweep.planes, "gcs": {"read": False, "reason": "It is out.", "code": "x"}}
    finished_sweep(now, planes=planes)
    said = api.get(PATH).json()
    assert (said["state"], states(said)) == ("unknown", {"sweep_gcs": "unknown"})
    assert by_name(said)["sweep_gcs"]["detail"] == "It is out. It was last read 4 h ago."
    Installation.objects.create(stopped_at=now, stopped_reason="Another wrote it.")
    assert states(api.get(PATH).json())["installation"] == "attention"


def test_wrong_settings_and_missing_migrations_are_shown_and_end_nothing(settings: Any):
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "BUKET": "x"}
    code, text = run("--json")
    said = by_name(json.loads(text))
    assert (code, list(said)) == (1, ["settings", "database", "migrations"])
    assert "mlp.E001: ML_PLATFORM has unknown keys: BUKET." in said["settings"]["detail"]
    recorder = MigrationRecorder(connection)
    last = [name for app, name in recorder.applied_migrations() if app == "ml_platform"][-1]
    recorder.record_unapplied("ml_platform", max(last, "0018_host_keys"))
    said = by_name(json.loads(run("--json")[1]))
    assert "Not applied: ml_platform." in said["migrations"]["detail"]
    assert said["migrations"]["advice"] == "Run `manage.py migrate`."


def test_the_starting_page_says_one_line_and_asks_nobody(cloud: LocalCloud, admin: Any):
    client = Client()
    client.force_login(admin)
    assert "mlp-status" not in client.get("/").content.decode()
    stalled_operation()
    page = client.get("/").content.decode()
    assert page.count(f'<p class="mlp-status"><span aria-hidden="true">!</span> {NO_WORKER}') == 1
    assert cloud.effects.count() == 0


def test_an_operation_that_nobody_takes_is_not_said_to_run(admin: Any):
    row = stalled_operation()
    client, api = Client(), bearer(admin)
    client.force_login(admin)
    for url in ("/", "/operations/", f"/operations/{row.pk}/"):
        page = client.get(url).content.decode()
        assert NO_WORKER in page
        assert "↻" not in page
        assert "data-form=" not in page.partition("data-watch")[2].partition("</li>")[0]
    status = client.get(f"/operations/{row.pk}/status/").json()
    assert (status["label"], status["note"], status["live"]) == ("Waiting", NO_WORKER, True)
    [listed] = api.get("/api/operations/").json()["items"]
    one = api.get(f"/api/operations/{row.pk}/")
    keeps_contract(one, "/api/operations/{operation_id}/")
    assert (listed["status"], listed["waiting"]) == ("running", NO_WORKER)
    assert one.json()["waiting"] == NO_WORKER
    Operation.objects.update(lease_until=database_now() + timedelta(seconds=50))
    assert "↻" in client.get(f"/operations/{row.pk}/").content.decode()
    assert api.get("/api/operations/").json()["items"][0]["waiting"] == ""
