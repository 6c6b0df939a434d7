"""Django's admin: windows on all tables that change nothing, and projects by our actions."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from ml_platform.admin.windows import WINDOWS
from ml_platform.models import ArchivedProject, DailyCount, Event, Project, RegisteredModel
from ml_platform.models.clock import database_now
from ml_platform.tests.factories import ProjectFactory, UserFactory

from .tenants import full_tenant, sweep_of_all

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture
def client() -> Client:
    browser = Client()
    browser.force_login(UserFactory.create(username="ana", is_staff=True, is_superuser=True))
    return browser


def url(model: Any, page: str, *arguments: object) -> str:
    return reverse(f"admin:ml_platform_{model._meta.model_name}_{page}", args=arguments)


def tenant(word: str) -> None:
    one = full_tenant(word)
    sweep_of_all(one)
    ArchivedProject.objects.create(project=one.project, archived_at=database_now())
    DailyCount.objects.create(
        day=database_now().date(), project=one.project, project_key=str(one.project.pk), models=1,
        versions=1, counted_at=database_now(),
    )  # fmt: skip
    Event.objects.create(kind="deployed", subject_name=word, lineage_id=10**9)


def test_each_table_has_a_window():
    ours = set(apps.get_app_config("ml_platform").get_models()) - {Project}
    assert set(WINDOWS) == ours
    assert Project in admin.site._registry


@pytest.mark.slow
def test_each_list_takes_the_same_queries_however_many_rows_and_links_to_our_pages(client: Client):
    tenant("acorn")
    client.get("/admin/")  # the session
    costs = {}
    for model in WINDOWS:
        with CaptureQueriesContext(connection) as few:
            page = client.get(url(model, "changelist"))
        assert page.status_code == 200
        costs[model] = len(few)
    for word in ("birch", "cedar"):
        tenant(word)
    for model, cost in costs.items():
        with CaptureQueriesContext(connection) as more:
            client.get(url(model, "changelist"))
        assert len(more) == cost <= 8, model
        counting = [query for query in more.captured_queries if "COUNT(" in query["sql"]]
        assert all("LIMIT 10000" in query["sql"] for query in counting)
        narrowed = client.get(url(model, "changelist"), {"q": "acorn"})
        assert narrowed.status_code == 200
    link = f'<a href="/models/{RegisteredModel.objects.earliest("pk").pk}/">Open</a>'
    assert link in client.get(url(RegisteredModel, "changelist")).content.decode()


@pytest.mark.slow
def test_nothing_is_changed_in_a_window(client: Client):
    tenant("acorn")
    shown = 0
    for model, window in WINDOWS.items():
        assert client.get(url(model, "add")).status_code == 403
        for row in model._default_manager.all()[:1]:
            page = client.get(url(model, "change", row.pk))
            assert page.status_code == 200, model
            assert b'name="_save"' not in page.content
            for name in window.hidden:
                assert f"field-{name}" not in page.content.decode()
            assert client.post(url(model, "change", row.pk), {}).status_code == 403
            assert client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
            shown += 1
    assert shown > 10


def test_staff_who_do_not_see_all_projects_see_no_window():
    user = UserFactory.create(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename="view_registeredmodel"))
    browser = Client()
    browser.force_login(user)
    assert browser.get(url(RegisteredModel, "changelist")).status_code == 403
    assert browser.get(url(Project, "add")).status_code == 403


def test_projects_are_made_renamed_given_members_and_archived(client: Client):
    for name in ("ben", "cleo"):
        UserFactory.create(username=name)
    added = client.post(url(Project, "add"), {"name": "shop", "logins": "ben\ncleo\n"})
    project = Project.objects.get(name="shop")
    assert added.status_code == 302
    change = url(Project, "change", project.pk)
    wrong = client.post(change, {"name": "shop", "logins": "zoe"}).content.decode()
    assert "There is no user zoe." in wrong
    assert client.post(change, {"name": "store", "logins": "cleo"}).status_code == 302
    other = ProjectFactory.create()
    selected = {"action": "archive", "_selected_action": [project.pk, other.pk]}
    ArchivedProject.objects.create(project=other, archived_at=database_now())
    told = client.post(url(Project, "changelist"), selected, follow=True).content.decode()
    assert "The project is archived already." in told
    assert ArchivedProject.objects.filter(project=project).exists()
    told_by = Event.objects.filter(project=project).order_by("seq")
    assert list(told_by.values_list("kind", flat=True)) == [
        "project_created", "member_added", "member_added", "project_renamed", "member_removed",
        "project_archived",
    ]  # fmt: skip
    assert set(told_by.values_list("actor_label", "origin")) == {("ana", "page")}
