"""Nothing before success (law 2), walked over HTTP: the API, the pages, and the command's poll."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from ml_platform.models import RegisteredModel
from ml_platform.models.clock import database_now
from ml_platform.services.operations.worker import resume_operations
from ml_platform.tests.factories import ProjectFactory
from ml_platform.tests.services.training_tools import STAGES, TEMPLATE_URI, CloudClock

from .api_tools import bearer, member_of, post

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

UPLOAD = "ModelService.UploadModel"
ENDINGS = [*(f"fail:{stage}" for stage in STAGES), "not_blessed", "hang", "cancel"]


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.parametrize("ending", ENDINGS)
def test_over_http_a_run_without_success_leaves_the_counts_as_they_were(
    cloud: LocalCloud, ending: str
) -> None:
    clock, project = CloudClock(cloud), ProjectFactory.create()
    if ending != "cancel":
        cloud.pipelines.outcome(ending)
    api = bearer(member_of(project))
    wanted = {"project": project.pk, "model_name": "bad", "template_uri": TEMPLATE_URI}
    run_id = post(api, "/api/training-runs/", wanted).json()["id"]
    path = f"/api/training-runs/{run_id}/"
    assert post(api, f"{path}submit/").status_code == 202
    resume_operations(clock=database_now)
    clock.forward(3)
    if ending == "cancel":
        assert post(api, f"{path}cancel/").status_code == 202
        resume_operations(clock=database_now)
    clock.forward(100)
    call_command("poll_training_runs")
    page = Client()
    page.force_login(member_of(project))
    assert post(api, f"{path}register/").status_code == 409
    assert page.post(f"/do/register-run/{run_id}/", {"key": "k"}).status_code == 409
    assert page.get(reverse("ml_platform:training", args=[project.pk])).status_code == 200
    counts = api.get("/api/system/kpis/").json()["counts"]
    assert {counts[where] for where in ("database", "projects", "registry_page")} == {0}
    assert (RegisteredModel.objects.count(), cloud.effects.count(UPLOAD)) == (0, 0)
