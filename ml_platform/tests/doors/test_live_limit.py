"""How many models `?verify=live` reads from Vertex AI: of each caller, and of all of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test import Client

from ml_platform.models import VerificationCount
from ml_platform.services.registry import live_limit
from ml_platform.services.registry.live_limit import OF_A_CALLER, OF_ALL
from ml_platform.tests.factories import ProjectFactory, RegisteredModelFactory, version_of

from .api_tools import bearer, keeps_contract, member_of

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

PATH = "/api/models/?verify=live&page_size=100"
API = Path(__file__).parents[3] / "docs/api.md"


def asked(client: Client) -> Any:
    try:
        return client.get(PATH)
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_two_callers_in_threads_have_no_more_models_read_than_they_may(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
):
    now = [datetime(2026, 12, 1, 11, 59, 40, tzinfo=UTC)]
    monkeypatch.setattr(live_limit, "database_now", lambda: now[0])
    project = ProjectFactory.create()
    for n in range(20):
        version_of(RegisteredModelFactory.create(project=project), vertex_id=str(n + 1))
    users = [member_of(project) for _ in range(6)]
    callers = [bearer(user) for user in users]
    before = now[0] - timedelta(minutes=1)  # what was read in another minute counts no more
    for key in ("", *(str(user.pk) for user in users)):
        VerificationCount.objects.create(caller=key, minute=before, count=30)
    cloud.effects.reset()
    reads = lambda: cloud.effects.count("ModelService.GetModel")  # noqa: E731
    with ThreadPoolExecutor(4) as pool:  # each of two callers twice, at once
        answers = list(pool.map(asked, callers[:2] * 2))
    assert reads() == 2 * OF_A_CALLER == 60
    items = [item for answer in answers for item in answer.json()["items"]]
    said = [item["registry_verified"] for item in items]
    assert (said.count(False), said.count(None)) == (60, 20)
    reasons = {item["registry_reason"] for item in items if item["registry_verified"] is None}
    assert reasons == {
        "Vertex AI is asked about 30 models of one caller a minute. Try again at 12:00:00 UTC."
    }
    assert sum(answer.json()["registry_check_available"] for answer in answers) == 2

    for caller in callers[2:] * 2:
        last = asked(caller)
    assert reads() == OF_ALL == 120
    keeps_contract(last, "/api/models/")
    assert last.json()["items"][0]["registry_reason"] == (
        "Vertex AI is asked about 120 models of all callers a minute. Try again at 12:00:00 UTC."
    )
    now[0] += timedelta(seconds=20)
    cloud.faults.order("ModelService.GetModel", "error", code="UNAVAILABLE", times=None)
    assert asked(callers[0]).json()["items"][0]["registry_verified"] is None
    assert reads() == 140  # each is sent once
    assert VerificationCount.objects.get(pk="").count == 20
    words = API.read_text()
    assert f"{OF_A_CALLER} models a minute for each user, and {OF_ALL} a minute for all" in words
