"""Projects by page, API and command; and what an archived one refuses, keeps and still counts."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from ml_platform import kpis
from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.table import ACTIONS
from ml_platform.errors import PlatformError
from ml_platform.models import ArchivedProject, Event, Operation, Project, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right
from ml_platform.services.operations.store import Actor
from ml_platform.services.scheduling.schedules import fire_schedule
from ml_platform.tests.factories import ProjectFactory, UserFactory, varied_project

from .api_tools import bearer, keeps_contract, member_of, post
from .parity import DOORS, subjects

pytestmark = pytest.mark.django_db


def staff() -> Any:
    return UserFactory.create(username="ana", is_staff=True, is_superuser=True)


def browser(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def command(*arguments: str) -> str:
    said = io.StringIO()
    call_command("manage_project", *arguments, stdout=said)
    return said.getvalue().strip()


def history(project: Project) -> list[tuple[str, str]]:
    rows = Event.objects.filter(project=project, subject_type="project").order_by("seq")
    return [(row.kind, row.actor_label) for row in rows]


def test_a_project_is_made_renamed_and_given_members_by_each_door():
    user, _ = staff(), UserFactory.create(username="ben")
    page, api = browser(user), bearer(user)
    settings = page.post("/new-project/", {"name": " shop "})["Location"]
    project = Project.objects.get(name="shop")
    assert settings == f"/projects/{project.pk}/settings/"
    path = f"/api/projects/{project.pk}/"
    # a name is taken once, at each door
    for taken in (
        page.post("/new-project/", {"name": "shop"}),
        page.post("/new-project/", {"name": ""}),
    ):
        assert taken.status_code == 422
    refused = post(api, "/api/projects/", {"name": "shop"})
    assert (refused.status_code, refused.json()["code"]) == (409, "project_exists")
    keeps_contract(refused, "/api/projects/", "post")
    with pytest.raises(CommandError, match="There is a project shop already"):
        command("create", "shop")
    # members
    assert page.post(settings, {"add": "1", "add-user": "ben"}).status_code == 302
    again = page.post(settings, {"add": "1", "add-user": "ben"})
    assert (again.status_code, b"ben is a member already." in again.content) == (422, True)
    assert b"There is no user zoe." in page.post(settings, {"add": "", "add-user": "zoe"}).content
    assert api.get(path).json()["members"] == ["ben"]
    assert command("remove-member", "shop", "ben") == f"{project.pk}  shop  no members"
    assert post(api, f"{path}add-member/", {"user": "ben"}).status_code == 200
    # names
    assert page.post(settings, {"rename": "1", "rename-name": "store"}).status_code == 302
    long = post(api, f"{path}rename/", {"name": "x" * 64})
    assert (long.status_code, long.json()["code"]) == (422, "bad_project_name")
    assert command("rename", "store", "stores").endswith("stores  ben")
    assert history(project) == [
        ("project_created", "ana"), ("member_added", "ana"), ("member_removed", "manage_project"),
        ("member_added", "ana"), ("project_renamed", "ana"), ("project_renamed", "manage_project"),
    ]  # fmt: skip
    text = page.get(settings).content.decode()
    assert "It was called store." in text
    made = post(api, "/api/projects/", {"name": "fourth"})
    keeps_contract(made, "/api/projects/", "post")
    assert made.json()["archived"] is False
    assert command("list").splitlines()[-1] == f"{made.json()['id']}  fourth  no members"


def test_only_who_sees_all_projects_learns_which_names_are_taken():
    mine, theirs = ProjectFactory.create(), ProjectFactory.create(name="theirs")
    member = member_of(mine)
    for asked in (
        post(bearer(member), "/api/projects/", {"name": "theirs"}),
        post(bearer(member), f"/api/projects/{mine.pk}/rename/", {"name": "theirs"}),
    ):
        assert (asked.status_code, asked.json()["code"]) == (403, "needs_everything")
    assert browser(member).get("/new-project/").status_code == 403
    page = browser(member).get(f"/projects/{mine.pk}/settings/").content.decode()
    assert 'name="rename"' not in page
    assert 'name="add"' in page
    viewer = browser(member_of(mine, Right.VIEW)).get(f"/projects/{mine.pk}/settings/")
    assert b'name="add"' not in viewer.content
    assert theirs.name not in page


def test_two_projects_of_one_name_are_told_apart_by_their_ids(monkeypatch: Any):
    first, second = ProjectFactory.create(), ProjectFactory.create()
    monkeypatch.setattr(Project, "__str__", lambda _: "shop")
    with pytest.raises(CommandError, match=rf"one of the ids {first.pk}, {second.pk}"):
        command("archive", "shop")
    assert command("archive", str(second.pk)).endswith("archived")


@pytest.mark.slow
def test_archiving_begins_nothing_new_and_counts_what_there_is():
    project = varied_project(name="shop")
    before = (kpis.four_counts(), kpis.serving_count(), kpis.assets(), kpis.open_findings())
    cards = kpis.project_cards([project])
    user = staff()
    page = browser(user)
    assert page.post(f"/do/archive-project/{project.pk}/").status_code == 302
    schedules = project_schedules(project)
    assert sorted(state for _, state in schedules) == ["cancelled", "paused", "paused"]
    note = Operation.objects.get(workflow="archive-project")
    assert note.steps[0]["title"] == "1 schedule paused."
    assets = kpis.assets()
    after = (kpis.four_counts(), kpis.serving_count(), assets, kpis.open_findings())
    assert after == before
    assert kpis.project_cards([project]) == cards
    # lists of projects leave it out, unless it is asked for
    start = page.get("/").content.decode()
    link = f"/projects/{project.pk}/training/"
    assert ("1 archived, with 1 model" in start, link in start) == (True, False)
    assert link in page.get("/?archived=yes").content.decode()
    api = bearer(user)
    assert api.get("/api/projects/").json()["items"] == []
    listed = api.get("/api/projects/?archived=true")
    assert [row["name"] for row in listed.json()["items"]] == ["shop"]
    keeps_contract(listed, "/api/projects/")
    assert api.get("/api/models/").json()["pagination"]["total"] == before[0].database
    training = page.get(link).content.decode()
    assert "This project is archived." in training
    assert "new-run/" not in training


def project_schedules(project: Project) -> list[tuple[int, str]]:
    from ml_platform.models import TrainingSchedule

    return list(TrainingSchedule.objects.filter(project=project).values_list("pk", "state"))


def test_exactly_what_begins_something_is_refused_in_an_archived_project():
    project = ProjectFactory.create(pk=1)
    nouns = {DOORS[name][0] for name in DOORS} - {"project", "finding"}
    made = {noun: subjects(noun, project) for noun in sorted(nouns)}
    ArchivedProject.objects.create(project=project, archived_at=database_now())
    refused = {name for name in DOORS if DOORS[name][0] in nouns and _refused(name, made)}
    assert refused == {
        "submit-run", "rerun", "deploy-run", "deploy-model", "redeploy", "rollback",
        "trigger-schedule", "resume-schedule",
    }  # fmt: skip
    operation = Operation.objects.get(pk=made["operation"]["failed"])
    for kind, begins in (("deploy", True), ("submit", True), ("delete", False)):
        Operation.objects.filter(pk=operation.pk).update(kind=kind)
        assert _code("retry-operation", operation.pk) == "project_archived" * begins
    for name in ("create-run", "create-schedule", "schedule-run"):
        assert ACTIONS[name].begins is True


def _refused(name: str, made: dict[str, Any]) -> bool:
    return any(_code(name, key) == "project_archived" for key in made[DOORS[name][0]].values())


def _code(name: str, key: Any) -> str:
    """What the button of an action says of its subject, if it is that the project is archived."""
    action, caller = ACTIONS[name], Caller.system("test")
    refusal = action.refusal(caller, action.find(caller, key))
    return refusal.code if refusal and refusal.code == "project_archived" else ""


def test_no_schedule_rings_while_its_project_is_archived_and_each_is_resumed_by_hand():
    project = varied_project(name="shop")
    ana = Caller.system("ana")
    schedule = _active(project)
    perform(ACTIONS["archive-project"], project.pk, {"reason": "Sold."}, ana)
    schedule.refresh_from_db()
    runs = TrainingRun.objects.count()
    ring = fire_schedule(
        schedule=schedule,
        scheduled_for=database_now(),
        actor=Actor(label="scheduler", origin="scheduler"),
        now=database_now(),
    )
    assert (ring.run, ring.message) == (None, "The schedule is paused.")
    with pytest.raises(PlatformError, match="The project is archived"):
        perform(ACTIONS["resume-schedule"], schedule.pk, None, ana)
    perform(ACTIONS["unarchive-project"], project.pk, {"reason": ""}, ana)
    schedule.refresh_from_db()
    assert schedule.state == "paused"
    resumed = perform(ACTIONS["resume-schedule"], schedule.pk, None, Caller.system("ana"))
    assert resumed.workflow == "resume-schedule"
    assert TrainingRun.objects.count() == runs


def _active(project: Project) -> Any:
    from ml_platform.models import TrainingSchedule

    return TrainingSchedule.objects.get(project=project, state="active")
