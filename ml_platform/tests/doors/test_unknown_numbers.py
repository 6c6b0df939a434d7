"""What is not known is shown as unknown: grey, with its last value and its age; never as zero."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from ml_platform import kpis
from ml_platform.models import MirroredModel, Project, RegisteredModel, Sweep
from ml_platform.models.clock import database_now
from ml_platform.models.states import RegistryState
from ml_platform.pages.view_models.count_strip import truth_strip
from ml_platform.tests.factories import RegisteredModelFactory, version_of
from ml_platform.tests.incident_rows import finished_sweep, incident_rows

from .api_tools import bearer, logged_in, member_of

pytestmark = pytest.mark.django_db
NOT_READ = {"vertex": {"read": False, "reason": "Quota used up."}}


@pytest.fixture
def project() -> Project:
    return incident_rows(database_now())


@pytest.fixture
def admin(admin_client: Client) -> Client:
    return admin_client


def text_of(client: Client, url: str) -> str:
    body = client.get(url).content.decode().partition("<main")[2]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


# ---- the difference adds up --------------------------------------------------------------------


def test_the_difference_of_the_incident_adds_up_on_the_page_and_in_the_api(admin, project):
    assert "8 − 1 points at nothing + 2 only in Vertex AI = 9" in text_of(admin, "/")  # noqa: RUF001
    for path, of in (("/api/system/kpis/", "counts"), ("/api/audit/", "counts")):
        counts = admin.get(path).json()[of]
        assert (counts["database"], counts["vertex"], counts["vertex_last"]) == (8, 9, 9)
        terms = [counts[n] for n in ("points_at_nothing", "not_seen_yet", "only_in_vertex")]
        assert terms == [1, 0, 2]


def test_what_was_registered_since_or_missed_once_points_at_nothing_that_is_known(admin, project):
    version_of(RegisteredModelFactory.create(project=project), registered_at=database_now())
    RegisteredModel.objects.filter(model_name="chern_rank_v1").update(
        registry_state=RegistryState.SUSPECTED
    )
    assert "9 − 2 not seen there yet + 2 only in Vertex AI = 9" in text_of(admin, "/")  # noqa: RUF001


def test_nothing_is_told_where_both_hold_the_same_models_or_vertex_ai_is_unknown(admin, project):
    finished_sweep(database_now(), status="partial", planes=NOT_READ)
    assert "points at nothing + " not in text_of(admin, "/")
    assert admin.get("/api/system/kpis/").json()["counts"]["only_in_vertex"] is None
    MirroredModel.objects.all().delete()
    Sweep.objects.all().delete()
    RegisteredModel.objects.update(
        vertex_model_resource_name="", total_versions=0, latest_run=None, latest_registered_at=None
    )
    finished_sweep(database_now())
    assert kpis.four_counts().only_in_vertex == 0
    assert "= 0" not in text_of(admin, "/")


@pytest.mark.parametrize("mine", [True, False])
@pytest.mark.parametrize("listed", range(3))
def test_it_adds_up_whatever_the_planes_hold(project, mine, listed):
    """Also for one project, of which Vertex AI's other models are nobody's business."""
    for mirrored in MirroredModel.objects.order_by("pk")[:listed]:
        mirrored.delete()
    counts = kpis.four_counts([project.pk] if mine else None)
    more = counts.only_in_vertex or 0
    ours = counts.database - counts.points_at_nothing - counts.not_seen_yet
    assert ours + more == counts.vertex
    assert more == (0 if mine else 2)


# ---- the last value, in grey -------------------------------------------------------------------


def test_an_unknown_count_keeps_its_last_value_in_grey_with_its_age(admin, project):
    Sweep.objects.update(finished_at=database_now() - timedelta(hours=2))
    finished_sweep(database_now(), status="partial", planes=NOT_READ)
    for url in ("/", "/registry-health/"):
        planes = admin.get(url).context["page"]["truth"]["planes"]
        assert [plane["tone"] for plane in planes] == ["plain", "plain", "plain", "unknown"]
        assert (planes[3]["count"], planes[3]["last"].relative) == ("9", "2 h ago")
        assert re.search(r"\? .{0,60} 9 Vertex AI · 2 h ago", text_of(admin, url))
    counts = admin.get("/api/system/kpis/").json()["counts"]
    assert (counts["vertex"], counts["vertex_last"], counts["agree"]) == (None, 9, None)


def test_what_was_never_read_has_no_last_value(admin):
    planes = admin.get("/").context["page"]["truth"]["planes"]
    assert (planes[3]["count"], planes[3]["last"]) == ("?", None)


# ---- a verification has an end -----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.any_database
@pytest.mark.parametrize(
    ("state", "young", "badge"),
    [
        (RegistryState.VERIFIED, True, "Verified"),
        (RegistryState.MISSING, False, "Not in Registry"),
        (RegistryState.CHANGED, False, "Files changed"),
    ],
)
@pytest.mark.parametrize("hours", [1.0, 24.0])
def test_after_three_audits_an_answer_is_unknown_everywhere(
    project, settings, state, young, badge, hours
):
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "AUDIT_INTERVAL_HOURS": hours}
    user = member_of(project)
    browser, program = logged_in(user), bearer(user)
    model = RegisteredModel.objects.get(model_name="chern_rank_v4")
    pages = (f"/projects/{project.pk}/training/?q=chern_rank_v4", f"/models/{model.pk}/")
    for minutes, verified, word in ((-5, young, badge), (5, None, "Unknown")):
        looked = database_now() - timedelta(hours=3 * hours, minutes=minutes)
        RegisteredModel.objects.update(registry_state=state, registry_checked_at=looked)
        for answer in (program.get("/api/models/").json()["items"][0],
                       program.get(f"/api/models/{model.pk}/").json()):  # fmt: skip
            assert answer["registry_verified"] is verified, minutes
            assert answer["verified_at"] is not None
        row = browser.get(pages[0]).context["page"]["registry"]["rows"][0]
        assert (row["registry"].label, row["checked"] is not None) == (word, True)
        assert browser.get(pages[1]).context["page"]["registry"].label == word
        chosen = {True: "verified", None: "unknown", False: str(state)}[verified]
        for asked in ("verified", "missing", "changed", "unknown"):
            found = browser.get(f"/projects/{project.pk}/training/", {"registry": asked})
            assert bool(found.context["page"]["registry"]["rows"]) is (asked == chosen)


def test_old_counts_are_not_called_equal(project):
    now = database_now()
    told: dict[str, Any] = {"database": 1, "projects": 1, "registry_page": 1, "vertex": 1}
    whole: dict[str, Any] = {"active": 4, "verified": 4, "last": 4}
    unread = whole | {"verified": None, "reason": "Quota."}
    for age, serving, label in (
        (2.9, whole, "They agree"),
        (3.1, whole, "Not checked lately"),
        (2.9, whole | {"verified": 3}, "What serves is unknown"),
        (2.9, unread, "What serves is unknown"),
        (2.9, whole | {"verified": 3, "unverified": 1}, "Not all that serves is verified"),
        (2.9, unread | {"unverified": 1}, "Not all that serves is verified"),
    ):
        counts = kpis.FourCounts(**told, swept_at=now - timedelta(hours=age))
        count = kpis.ServingCount(**serving, read_at=now - timedelta(hours=9))
        strip = truth_strip(counts=counts, serving=count, findings={}, now=now)
        assert (strip["verdict"].label, strip["quiet"]) == (label, label == "They agree")
        # What is not read keeps its last number, with its age, and is not called whole.
        assert (strip["serving"]["last"] is None) is (serving["verified"] is not None)
        assert strip["serving"]["count"] == f"{serving['verified'] or 4} of 4"
        assert (strip["serving"]["tone"] == "plain") is (serving is whole)
