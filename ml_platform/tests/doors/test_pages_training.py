"""The training page: what each state looks like, what narrows it, what it costs."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import transaction
from django.test import Client
from django.utils import timezone

from ml_platform.models import DeployedEndpoint, RegisteredModel, ServiceDailyMetrics, TrainingRun
from ml_platform.models.states import EndpointState, Registration, RegistryState, RunStatus
from ml_platform.services.access.rights import Right
from ml_platform.services.registry.lineages import clear_pointer, sync_version_cache
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep, incident_rows, seen_to_serve

from .api_tools import member_of

pytestmark = pytest.mark.django_db
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root", password="pw"))
    return client


@pytest.fixture
def project():
    return ProjectFactory.create(name="p")


def url_of(project, query: str = "") -> str:
    return f"/projects/{project.pk}/training/{query}"


def table(client: Client, project, part: str, query: str = "") -> str:
    """The text of one table of the page."""
    body = client.get(url_of(project, query)).content.decode()
    section = body[body.index(f'<section id="{part}"') :]
    section = section[: section.index("</section>")]
    return " ".join(re.sub(r"<[^>]*>", " ", section).split())


def names(client: Client, project, query: str = "") -> list[str]:
    body = client.get(url_of(project, query)).content.decode()
    section = body[body.index('id="models"') : body.index('id="endpoints"')]
    return re.findall(r'class="mlp-name" href="[^"]*" title="([^"]*)"', section)


def model_in(project, name: str, **changes) -> RegisteredModel:
    lineage: RegisteredModel = RegisteredModelFactory.create(
        project=project, model_name=name, **changes
    )
    version_of(lineage)
    return lineage


@pytest.mark.slow
def test_the_page_counts_what_the_starting_page_counts(admin):
    project = incident_rows(timezone.now())
    assert "8 models" in table(admin, project, "models")
    assert len(names(admin, project)) == 8
    assert "chern_hybrid_v2" not in names(admin, project)


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("state", "looked", "says", "deploys"),
    [
        (RegistryState.VERIFIED, True, "✓ Verified 3m", True),
        (RegistryState.MISSING, True, "✕ Not in Registry : Two sweeps found", False),
        (RegistryState.CHANGED, True, "✕ Files changed : A version does not have the files", True),
        (RegistryState.FOREIGN, True, "! Labels changed : It is in Vertex AI, but without", True),
        (RegistryState.SUSPECTED, True, "Last checked 3 min ago. 3m", True),
        (RegistryState.UNCHECKED, False, "? Unknown : No sweep has checked it yet.", True),
    ],
)
def test_each_registry_state_has_its_badge_and_only_missing_stops_a_deploy(
    admin, project, state, looked, says, deploys
):
    now = timezone.now()
    finished_sweep(now)
    at = now - timedelta(minutes=3) if looked else None
    model_in(project, "m", registry_state=state, registry_checked_at=at)
    text = table(admin, project, "models")
    assert says in text
    assert ("It is not in the Vertex AI Model Registry." in text) is not deploys


def test_an_unread_plane_makes_every_model_unknown_with_its_reason_and_none_missing(admin, project):
    now = timezone.now()
    finished_sweep(now, planes={"vertex": {"read": False, "reason": "Quota used up."}})
    model_in(project, "m", registry_state=RegistryState.MISSING, registry_checked_at=now)
    text = table(admin, project, "models")
    assert "Vertex AI is unknown: Quota used up." in text
    assert "? Unknown" in text
    assert "Not in Registry" not in text.replace("Not in Registry Unknown", "")
    assert names(admin, project, "?registry=missing") == []
    assert names(admin, project, "?registry=unknown") == ["m"]


def test_a_missing_model_cannot_be_deployed_and_the_button_says_why(admin, project):
    now = timezone.now()
    finished_sweep(now)
    model_in(project, "m", registry_state=RegistryState.MISSING, registry_checked_at=now)
    body = admin.get(url_of(project)).content.decode()
    assert 'aria-disabled="true" aria-label="Deploy m v1: It is not in the Vertex AI' in body
    assert "/do/deploy-run/" not in body
    assert "registry-missing" in body


@pytest.mark.parametrize(
    ("changes", "says", "button"),
    [
        ({"serving": True}, "? Active", "serves v1 already"),
        ({}, "○ Stopped", "Deploy"),
        ({"model_deleted": True}, "! Model Deleted", "cannot be restored"),
        ({"state": EndpointState.UNDEPLOYING, "is_active": True}, "↻ Undeploying", "Undeploy"),
    ],
)
def test_the_endpoints_show_the_matrix_of_active_and_deleted(admin, project, changes, says, button):
    lineage = model_in(project, "m")
    DeployedEndpointFactory.create(registered_model=lineage, run=lineage.latest_run, **changes)
    text = table(admin, project, "endpoints")
    assert says in text
    assert button in text
    assert ("Model Deleted" in text) is bool(changes.get("model_deleted"))


def test_a_version_that_went_is_not_rolled_back_to_nor_counted(admin, project):
    lineage = model_in(project, "m")
    old, new = lineage.latest_run, version_of(lineage)
    assert old
    DeployedEndpointFactory.create(
        registered_model=lineage, run=new, previous_run=old, service_name="svc", serving=True
    )
    off = 'aria-label="Roll svc back to v1: '
    assert "v2 of 2" in table(admin, project, "models")
    assert off not in admin.get(url_of(project)).content.decode()
    with transaction.atomic():
        clear_pointer(run=old, registration=Registration.DELETED)
    sync_version_cache(registered_model=lineage)
    assert "v2 1 registered" in table(admin, project, "models")
    assert off in admin.get(url_of(project)).content.decode()


def test_traffic_and_latency_are_of_the_last_seven_full_days_and_a_dash_when_unread(admin, project):
    lineage = model_in(project, "m")
    endpoint = DeployedEndpointFactory.create(
        registered_model=lineage, run=lineage.latest_run, service_name="svc", serving=True
    )
    seen_to_serve(endpoint, timezone.now())
    assert "svc ✓ Active m v1 – – –" in table(admin, project, "endpoints")  # noqa: RUF001
    now = timezone.now()
    for ago, requests in ((0, 5000), (1, 1000), (7, 200), (8, 70)):
        ServiceDailyMetrics.objects.create(
            service_name="svc", endpoint=endpoint, project=project, read_at=now, complete=True,
            day=now.date() - timedelta(days=ago), requests=requests, latency_p95=80 + ago,
        )  # fmt: skip
    assert "svc ✓ Active m v1 1,200 (2 of 7 days) 87 ms" in table(admin, project, "endpoints")


def test_a_run_that_is_being_deployed_is_not_under_way_anywhere(admin, project):
    lineage = model_in(project, "m")
    TrainingRun.objects.update(status=RunStatus.DEPLOYING, progress=100)
    TrainingRunFactory.create(project=project, model_name="a", status=RunStatus.RUNNING)
    body = admin.get(url_of(project)).content.decode()
    assert ">1 under way<" in body
    assert body.count("data-moving") == 1
    assert "1 run</p>" in admin.get(url_of(project, "?runs=live")).content.decode()
    assert f"/do/cancel-run/{lineage.latest_run_id}/" not in body


def test_runs_show_their_stage_and_progress_and_what_can_be_done(admin, project):
    TrainingRunFactory.create(
        project=project, model_name="a", status=RunStatus.RUNNING, stage="train", progress=40
    )
    TrainingRunFactory.create(project=project, model_name="b", failed=True)
    TrainingRunFactory.create(
        project=project, model_name="c", status=RunStatus.NOT_BLESSED, is_blessed=False
    )
    text = table(admin, project, "runs")
    assert "a ↻ Running train 40 %" in text
    assert "b ✕ Failed" in text
    assert "The train stage failed." in text
    assert "Register…" in text
    assert table(admin, project, "runs", "?runs=live").count("Running train") == 1
    assert "Failed –" not in table(admin, project, "runs", "?runs=live")  # noqa: RUF001


def test_schedules_show_their_next_times_and_a_paused_one_has_none(admin, project):
    lineage = RegisteredModelFactory.create(project=project)
    for name, state in (("a", "active"), ("b", "paused"), ("c", "cancelled")):
        TrainingScheduleFactory.create(
            registered_model=lineage, name=name, state=state,
            starts_at=timezone.now() - timedelta(days=3, hours=1), frequency="daily",
        )  # fmt: skip
    text = table(admin, project, "schedules")
    assert re.search(r"✓ Active Daily 0 4 \* \* \* UTC in 22 h · in 1 d · in 2 d", text)
    assert re.search(r"! Paused Daily 0 4 \* \* \* UTC – – Train now Resume End", text)  # noqa: RUF001
    assert text.endswith("Cancelled Daily 0 4 * * * UTC – –")  # noqa: RUF001


@pytest.mark.slow
def test_models_are_searched_narrowed_and_sorted_by_links_one_can_keep(admin, project):
    now = timezone.now()
    for age, (name, kind) in enumerate(
        [("b-one", "ranking"), ("a-two", "hybrid"), ("c-one", "hybrid")]
    ):
        lineage = RegisteredModelFactory.create(project=project, model_name=name, model_type=kind)
        version_of(lineage, registered_at=now - timedelta(days=age))
    DeployedEndpointFactory.create(registered_model=lineage, run=lineage.latest_run, serving=True)
    assert names(admin, project) == ["b-one", "a-two", "c-one"]
    assert names(admin, project, "?sort=oldest") == ["c-one", "a-two", "b-one"]
    assert names(admin, project, "?sort=name") == ["a-two", "b-one", "c-one"]
    assert names(admin, project, "?sort=name-desc") == ["c-one", "b-one", "a-two"]
    assert names(admin, project, "?q=ONE") == ["b-one", "c-one"]
    assert names(admin, project, "?type=hybrid&sort=name") == ["a-two", "c-one"]
    assert names(admin, project, "?state=deployed") == ["c-one"]
    assert names(admin, project, "?state=idle&q=two") == ["a-two"]
    assert "No registered model matches." in table(admin, project, "models", "?q=100%25")


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["newest", "oldest", "name", "name-desc"])
def test_pages_by_key_meet_each_model_once_forwards_and_backwards(admin, project, sort):
    for n in range(60):  # all registered at the same moment: only their ids part them
        model_in(project, f"m{n:02}")
    query, seen, pages = f"?sort={sort}", [], []
    while query:
        found = names(admin, project, query)
        seen += found
        pages.append(found)
        body = admin.get(url_of(project, query)).content.decode()
        following = re.search(r'rel="next" href="([^"]*#models)"', body)
        query = following[1].replace("&amp;", "&") if following else ""
    assert [len(page) for page in pages] == [25, 25, 10]
    assert sorted(seen) == [f"m{n:02}" for n in range(60)]
    back = re.search(r'rel="prev" href="([^"]*#models)"', body)
    assert back is not None
    assert names(admin, project, back[1].replace("&amp;", "&")) == pages[1]


def test_a_member_sees_his_own_project_and_may_do_only_what_he_has_the_right_to(project):
    model_in(project, "m")
    user = member_of(None, Right.VIEW)
    client = Client()
    client.force_login(user)
    assert client.get(url_of(project)).status_code == 404
    project.members.add(user)
    assert "the permission ml_platform.deploy_registeredmodel" in table(client, project, "models")
    user.user_permissions.add(Permission.objects.get(codename="deploy_registeredmodel"))
    assert "permission" not in table(client, project, "models")
    assert client.get("/projects/none-such/training/").status_code == 404
    assert Client().get(url_of(project)).status_code == 302


@pytest.mark.slow
def test_the_page_takes_the_same_queries_however_much_there_is(
    admin, project, django_assert_num_queries
):
    for more in (1, 40):
        grow(project, more)
        for query in ("", "?q=m&sort=name&type=retrieval&state=deployed&registry=unknown"):
            with django_assert_num_queries(23):
                assert admin.get(url_of(project, query)).status_code == 200


def grow(project, number: int) -> None:
    if number == 1:
        finished_sweep(timezone.now())
    for n in range(number):
        lineage = model_in(project, f"m{number}-{n}")
        DeployedEndpointFactory.create(
            registered_model=lineage, run=lineage.latest_run, serving=True
        )
        TrainingScheduleFactory.create(registered_model=lineage)


def test_names_and_errors_are_text(admin, project):
    lineage = model_in(project, "m")
    endpoint = DeployedEndpointFactory.create(registered_model=lineage, run=lineage.latest_run)
    TrainingScheduleFactory.create(registered_model=lineage, name=EVIL)
    RegisteredModel.objects.update(model_name=EVIL)
    TrainingRun.objects.update(error=EVIL, stage=EVIL, metrics={EVIL: 1, "x": EVIL})
    DeployedEndpoint.objects.filter(pk=endpoint.pk).update(error=EVIL, url=f"https://x/{EVIL}")
    body = admin.get(url_of(project)).content.decode()
    assert body.count("&lt;img src=x") > 8
    assert "<img" not in body


def test_the_cards_of_the_starting_page_lead_here(admin):
    project = incident_rows(timezone.now())
    assert f'href="{url_of(project)}"' in admin.get("/").content.decode()


def test_a_poll_asks_for_the_runs_alone_and_is_told_when_nothing_changed(admin, project):
    run = TrainingRunFactory.create(project=project, status="running", stage="transform")
    whole = admin.get(url_of(project)).content.decode()
    url = url_of(project, "?fragment=runs&runs=live")
    told = admin.get(url)
    part = told.content.decode()
    steady = admin.get(url, headers={"If-None-Match": told["ETag"]})
    assert (told.status_code, steady.status_code, steady.content) == (200, 304, b"")
    assert len(part) < len(whole) / 2
    assert "<html" not in part
    assert "fragment=" not in part
    assert part.strip().startswith('<section id="runs" data-live="runs" data-fragment')
    TrainingRun.objects.filter(pk=run.pk).update(progress=80)
    fresh = admin.get(url, headers={"If-None-Match": told["ETag"]})
    assert (fresh.status_code, "80 %" in fresh.content.decode()) == (200, True)
    assert admin.get("/?fragment=running").content.strip() == RUNNING_NONE
    other = Client()
    other.force_login(member_of(ProjectFactory.create(), Right.VIEW, name="eve"))
    assert other.get(url).status_code == 404
    assert Client().get(url).status_code == 302


RUNNING_NONE = b'<div data-live="running" data-fragment></div>'
