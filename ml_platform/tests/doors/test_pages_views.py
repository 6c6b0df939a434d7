"""The pages as a door: who gets in, what each shows, and what it costs."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.template import engines
from django.test import Client
from django.utils import timezone

from ml_platform.models import Finding, Operation, Project
from ml_platform.models.states import FindingStatus, OperationKind, OperationStatus
from ml_platform.services.access.rights import Right
from ml_platform.tests.factories import RegisteredModelFactory, version_of
from ml_platform.tests.incident_rows import finished_sweep, incident_rows, operations_of

from .api_tools import member_of

PAGES = ("/", "/registry-health/", "/operations/")
EVIL = "<img src=x onerror=alert(1)>"

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    return logged_in(get_user_model().objects.create_superuser("root", password="pw"))


def logged_in(user) -> Client:
    client = Client()
    client.force_login(user)
    return client


def text_of(client: Client, url: str) -> str:
    """A page's text with its blanks folded."""
    answer = client.get(url)
    assert answer.status_code == 200, (url, answer.status_code)
    return " ".join(re.sub(r"<[^>]*>", " ", answer.content.decode()).split()).replace(" .", ".")


@pytest.mark.parametrize("url", [*PAGES, f"/operations/{uuid.UUID(int=7)}/"])
def test_a_stranger_is_sent_to_the_login(client: Client, url: str):
    answer = client.get(url)
    assert (answer.status_code, answer["Location"]) == (302, f"/login/?next={url}")


@pytest.mark.parametrize("url", PAGES)
def test_pages_only_read_and_are_never_cached(admin: Client, url: str):
    assert admin.post(url).status_code == 405
    assert "no-store" in admin.get(url)["Cache-Control"]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("/models/999999/", "There is no registered model 999999."),
        ("/projects/999999/training/", "There is no project 999999."),
        ("/nowhere/", "There is no such page."),
    ],
)
def test_what_is_not_there_is_said_on_a_page_of_ours(admin: Client, url: str, says: str):
    answer = admin.get(url)
    assert answer.status_code == 404
    assert f'<h1 class="mlp-sentence">{says}</h1>' in answer.content.decode()
    assert 'href="/">Starting page</a>' in answer.content.decode()


def test_a_form_that_is_too_old_is_told_so_to_whoever_sent_it(admin: Client):
    strict = Client(enforce_csrf_checks=True)
    for logged_in_too in (False, True):
        if logged_in_too:
            strict.force_login(get_user_model().objects.get(username="root"))
        answer = strict.post("/registry-health/check/")
        assert answer.status_code == 403
        assert "This form is outdated. Nothing was done." in answer.content.decode()


def test_the_starting_page_shows_the_incident(admin: Client):
    incident_rows(timezone.now())
    text = text_of(admin, "/")
    assert "Registry truth ✕ They differ" in text
    assert "8 Database = equals 8 Projects = equals 8 Registry page ≠ differs from 9 Vertex" in text
    assert "1 points at nothing · 2 only in Vertex AI · 2 never registered Review 5" in text
    assert "Models 8 Versions 16 Deployed 2 of 8 Endpoints 2 of 3 active Runs 18" in text
    assert "points at a model" not in text  # the strip leads to the findings


def test_the_starting_page_is_quiet_when_all_agree(admin: Client):
    finished_sweep(timezone.now())
    text = text_of(admin, "/")
    assert "0 everywhere ✓ They agree" in text
    assert "Findings" not in text


def test_a_user_without_projects_is_not_told_that_all_agree():
    finished_sweep(timezone.now())
    client = Client()
    client.force_login(member_of(None, Right.VIEW))
    text = text_of(client, "/")
    assert "You are not a member of a project." in text
    assert "everywhere" not in text


def test_registry_health_says_when_nothing_disagrees(admin: Client):
    finished_sweep(timezone.now())
    text = text_of(admin, "/registry-health/")
    assert "Nothing disagrees. Last sweep 2 min ago." in text


def test_an_empty_installation_says_what_to_do_first(admin: Client):
    text = text_of(admin, "/")
    assert "No sweep has read Vertex AI yet. Run manage.py audit_registry" in text
    assert "There are no projects yet." in text
    assert "No operations yet." in text


def test_an_unreadable_plane_is_told_with_its_reason(admin: Client):
    now = timezone.now()
    incident_rows(now)
    planes = {"vertex": {"read": False, "reason": "Quota used up."}, "gcs": {"read": True}}
    finished_sweep(now, status="partial", planes=planes, finished_at=now)
    for url in ("/", "/registry-health/"):
        text = text_of(admin, url)
        assert "? Vertex AI is unknown" in text
        assert re.search(r"tried \w+ \w+ · Vertex AI last read 2 min ago", text)
        assert "Quota used up." in text
    assert "? Vertex AI : Quota used up." in text
    assert "? Cloud Run : That sweep did not read it." in text


def test_registry_health_lists_the_worst_kind_first_and_ended_ones_apart(admin: Client):
    incident_rows(timezone.now())
    kinds = re.findall(
        r"Stale pointer|Unmanaged in Vertex AI|Orphan", page(admin, "/registry-health/")
    )
    assert [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind != before] == [
        "Stale pointer",
        "Unmanaged in Vertex AI",
        "Orphan",
    ]
    Finding.objects.filter(kind="orphan").update(
        status=FindingStatus.REPAIRED, ended_at=timezone.now()
    )
    assert "was never registered" not in text_of(admin, "/registry-health/")
    assert "short-test-20260129 was never registered" in text_of(
        admin, "/registry-health/?status=ended"
    )


def page(client: Client, url: str) -> str:
    body = client.get(url).content.decode()
    return body[body.index("<main") :]


def test_operations_are_told_as_sentences_and_can_be_narrowed(admin: Client):
    now = timezone.now()
    operations_of(incident_rows(now), now)
    text = text_of(admin, "/operations/")
    assert "↻ Running ana began to register chern_rank_v5 Upload to Vertex AI" in text
    assert "✓ Succeeded ana deleted chern_rank_v1 v1 12 objects, 84 MB" in text
    assert "✕ Failed ben could not deploy chern_hybrid_v3 v1 Model not found" in text
    failed = text_of(admin, "/operations/?status=failed")
    assert "ben could not deploy" in failed
    assert "ana deleted" not in failed
    assert "ana began" in text_of(admin, "/operations/?status=nonsense")


def test_an_operation_shows_its_steps_its_error_and_what_to_do(admin: Client):
    now = timezone.now()
    running, _, failed = operations_of(incident_rows(now), now)
    text = text_of(admin, f"/operations/{failed.pk}/")
    assert "Model not found in Vertex AI Model Registry. It may have been deleted." in text
    assert "Train it again, or restore it in the console. cloud_absent" in text
    text = text_of(admin, f"/operations/{running.pk}/")
    assert "Check the artifacts 3 files, 84 MB ✓ Done" in text
    assert "Upload to Vertex AI uploading to Vertex AI ↻ Waiting" in text
    assert admin.get(f"/operations/{uuid.UUID(int=7)}/").status_code == 404


@pytest.mark.slow
def test_a_member_sees_his_projects_only():
    now = timezone.now()
    operations = operations_of(incident_rows(now), now)
    mine = version_of(RegisteredModelFactory.create(project__name="mine"), vertex_id="5").project
    user = member_of(None, Right.VIEW)
    mine.members.add(user)
    client = logged_in(user)
    text = text_of(client, "/")
    assert "mine newest version" in text
    assert "test_v1" not in text
    assert "1 Database = equals 1 Projects = equals 1 Registry page ≠ differs from 0" in text
    for url in PAGES:
        assert "chern_rank_v1" not in text_of(client, url)
        assert "trd-test" not in text_of(client, url)
    assert client.get(f"/operations/{operations[0].pk}/").status_code == 404


def test_the_incidents_own_member_sees_its_findings_but_not_what_belongs_to_nobody():
    now = timezone.now()
    project = incident_rows(now)
    operations = operations_of(project, now)
    user = member_of(None, Right.VIEW)
    project.members.add(user)
    client = logged_in(user)
    text = text_of(client, "/registry-health/")
    assert "chern_rank_v1 points at a model that is not in Vertex AI" in text
    assert "trd-test" not in text
    assert client.get(f"/operations/{operations[0].pk}/").status_code == 200


def test_staff_see_all_only_with_the_permission_to_view_projects():
    incident_rows(timezone.now())
    user = member_of(None, Right.VIEW)
    user.is_staff = True
    user.save()
    assert "test_v1" not in text_of(logged_in(user), "/")
    user.user_permissions.add(Permission.objects.get(codename="view_project"))
    assert "test_v1" in text_of(logged_in(user), "/")


def only_named_mine(user):
    return Project.objects.filter(name=f"of-{user.get_username()}")


def test_a_host_says_who_sees_what_by_a_callable_of_its_own(settings):
    incident_rows(timezone.now())
    RegisteredModelFactory.create(project__name="of-ann")
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PROJECTS_FOR_USER": f"{__name__}.only_named_mine",
    }
    text = text_of(logged_in(member_of(None, Right.VIEW, name="ann")), "/")
    assert "of-ann nothing registered" in text
    assert "test_v1" not in text


@pytest.mark.slow
def test_pages_take_the_same_queries_however_much_there_is(
    admin: Client, django_assert_num_queries
):
    now = timezone.now()
    operations_of(incident_rows(now), now)
    costs = {"/": 29, "/registry-health/": 14, "/operations/": 8}  # one is of the banner
    for more in (0, 30):
        grow(more)
        for url, queries in costs.items():
            with django_assert_num_queries(queries):
                admin.get(url)


def grow(number: int) -> None:
    now = timezone.now()
    for n in range(number):
        version_of(RegisteredModelFactory.create(), vertex_id=str(n + 1))
        finding(title=f"finding {n}")
        Operation.objects.create(
            kind=OperationKind.CLEANUP, subject_name=f"m{n}", actor_label="a", origin="command",
            status=OperationStatus.FAILED, finished_at=now, created_at=now,
        )  # fmt: skip


def finding(**changes) -> Finding:
    now = timezone.now()
    values = {"kind": "orphan", "subject": changes.get("title", ""), "title": "t", "repair": "r"}
    return Finding.objects.create(
        **{**values, "first_seen_at": now, "last_seen_at": now, **changes}
    )


def test_long_lists_come_in_pages(admin: Client):
    for n in range(60):
        finding(title=f"finding {n:02}")
    first = page(admin, "/registry-health/")
    assert first.count("<article") == 50
    assert "1 to 50 of 60" in first
    second = page(admin, "/registry-health/?status=open&page=2")
    assert second.count("<article") == 10
    assert 'href="?status=open&amp;page=1"' in second
    assert page(admin, "/registry-health/?page=999").count("<article") == 10


def test_names_are_text_everywhere(admin: Client):
    now = timezone.now()
    project = incident_rows(now)
    Project.objects.update(name=EVIL)
    Finding.objects.update(title=EVIL, repair=EVIL, evidence={EVIL: EVIL, "x": [EVIL]})
    finished_sweep(now, actor_label=EVIL, planes={"vertex": {"read": False, "reason": EVIL}})
    operation = operations_of(project, now)[0]
    Operation.objects.update(subject_name=EVIL, actor_label=EVIL, error=EVIL, advice=EVIL)
    for url in (*PAGES, f"/operations/{operation.pk}/"):
        body = admin.get(url).content.decode()
        assert "&lt;img src=x" in body
        assert "<img" not in body


def test_pages_hold_no_inline_script_or_style_and_no_foreign_address(admin: Client):
    now = timezone.now()
    operation = operations_of(incident_rows(now), now)[0]
    for url in (*PAGES, f"/operations/{operation.pk}/", "/login/"):
        client = admin if url != "/login/" else Client()
        body = client.get(url).content.decode()
        body = re.sub(r'<script type="module" src="/static/[a-z_/]*\.js"></script>', "", body)
        assert re.findall(r"<script|<style|\sstyle=|\son\w+=|https?://|javascript:", body) == []


def test_pages_live_in_the_base_of_a_host_that_has_one(admin: Client, settings, tmp_path):
    (tmp_path / "host.html").write_text(
        "<html lang=en><title>{% block title %}{% endblock %} at ACME</title>"
        "<body>ACME bar{% block content %}{% endblock %}ACME foot</body></html>"
    )
    [options] = settings.TEMPLATES
    settings.TEMPLATES = [{**options, "DIRS": [*options["DIRS"], tmp_path]}]
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "BASE_TEMPLATE": "host.html"}
    assert engines.all()
    for url in PAGES:
        body = admin.get(url).content.decode()
        assert body.startswith("<html lang=en>")
        assert body.index("ACME bar") < body.index('class="mlp"') < body.index("ACME foot")
        assert "Log out" not in body  # the host has an account menu of its own
        assert "css/ml_platform.css" in body


@pytest.mark.slow
def test_the_bell_counts_open_findings_on_every_page(admin: Client):
    for url in PAGES:
        assert "open findings" not in text_of(admin, url)
    incident_rows(timezone.now() - timedelta(days=1))
    for url in PAGES:
        assert "open findings: 5" in text_of(admin, url)
