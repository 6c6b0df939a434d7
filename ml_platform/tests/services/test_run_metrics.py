"""metrics.json: finite numbers are kept, and what is not is said in a sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from django.test import Client
from django.urls import reverse

from ml_platform.models import TrainingRun
from ml_platform.services.deployment.endpoint_state import sync_run_status
from ml_platform.services.training.results import METRICS_MAX, metrics_of
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    version_of,
)

from .training_tools import BUCKET, CloudClock, poll, start_run

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

FIRST = "Metrics that were not stored: "


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("{}", {}),
        ("[]", {}),
        ('{"auc": 0.9, "at": {"5": 1, "10": -2e9}}', {"auc": 0.9, "at.5": 1, "at.10": -2e9}),
        ('[{"name": "auc", "numberValue": 0.9, "format": "RAW"}]', {"auc": 0.9}),
        ('{"metrics": [{"name": "a", "numberValue": 1}]}', {"metrics.a": 1}),
    ],
)
def test_numbers_are_kept_under_their_names(text: str, kept: dict[str, float]) -> None:
    assert metrics_of(text) == (kept, "")


@pytest.mark.parametrize(
    ("text", "kept", "missed"),
    [
        ('{"auc": NaN, "loss": 0.5}', {"loss": 0.5}, "auc (NaN)"),
        (
            '{"auc": Infinity, "a": {"b": -Infinity}, "loss": 1}',
            {"loss": 1},
            "auc (infinite), a.b (infinite)",
        ),
        ('{"auc": 1e999, "loss": 1}', {"loss": 1}, "auc (infinite)"),
        (f'{{"auc": {10**400}, "loss": 1}}', {"loss": 1}, "auc (too large)"),
        (
            '{"auc": "0.9", "f1": null, "ok": true, "loss": 1}',
            {"loss": 1},
            "auc (a text), f1 (null), ok (true or false)",
        ),
        ('{"auc": [0.9, 0.8], "loss": 1}', {"loss": 1}, "auc (a list)"),
        (
            '{"a\\u0000": 1, "b\\ud800": 2, "loss": 1}',
            {"loss": 1},
            r"a\x00 (a name that cannot be shown), b\ud800 (a name that cannot be shown)",
        ),
        ('{"": 5, "loss": 1}', {"loss": 1}, "a value (without a name)"),
        ("0.9", {}, "a value (without a name)"),
        ('[{"name": "auc", "numberValue": NaN}]', {}, "auc (NaN)"),
        ('[{"name": "auc", "value": 0.9}]', {}, "a value (a list)"),
        (
            '[{"name": "a", "numberValue": 1}, {"name": "a", "numberValue": 2}]',
            {"a": 1},
            "a (given twice)",
        ),
        ('{"a": 1, "a": 2}', {"a": 1}, "a (given twice)"),
    ],
)
def test_what_is_not_kept_is_named_with_the_reason_and_the_others_are_kept(
    text: str, kept: dict[str, float], missed: str
) -> None:
    assert metrics_of(text) == (kept, f"{FIRST}{missed}.")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "not JSON (line 1, column 1: "),
        ('{"auc": 0.9,\n}', "not JSON (line "),
        ("[NaN", "not JSON (line 1, column 5: "),
        ("auc: 0.9", "not JSON (line 1, column 1: "),
        ('{"a":' * 90_000, "too deep, "),  # Python 3.13 reads ten thousand
        ("9" * 5000, "too deep, or has too long a number."),
    ],
    ids=lambda text: text[:9],
)
def test_what_is_no_json_is_said(text: str, where: str) -> None:
    metrics, remark = metrics_of(text)
    assert metrics == {}
    assert remark.startswith(f"Its metrics cannot be read: metrics.json is {where}")


def test_a_file_as_deep_as_json_allows_is_read() -> None:
    metrics, remark = metrics_of('{"a":' * 900 + "1" + "}" * 900)
    assert (list(metrics.values()), remark) == ([1], "")


def test_too_many_are_counted() -> None:
    metrics, remark = metrics_of(json.dumps({f"m{n:03}": n for n in range(METRICS_MAX + 8)}))
    assert len(metrics) == METRICS_MAX
    each = ", ".join(f"m{number} (more than 200)" for number in range(200, 205))
    assert remark == f"{FIRST}{each} and 3 more."


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "kept", "said"),
    [
        (b'{"auc": NaN, "loss": 0.5}', {"loss": 0.5}, f"{FIRST}auc (NaN)."),
        (b'\xef\xbb\xbf{"auc": 0.9}', {"auc": 0.9}, ""),
        (b'{"auc": 0.9,}', {}, "Its metrics cannot be read: metrics.json is not JSON (line 1"),
        (b'[{"name": "auc", "numberValue": 0.9}]', {"auc": 0.9}, ""),
        (b'{"auc": 0.9}\0', {}, "Its metrics cannot be read: "),
    ],
)
def test_a_run_keeps_what_it_can_and_says_what_it_could_not(
    cloud: LocalCloud, body: bytes, kept: dict[str, float], said: str
) -> None:
    clock = CloudClock(cloud)
    run = start_run(ProjectFactory.create(), clock)
    clock.forward(120)
    prefix = run.gcs_artifacts_path.removeprefix(f"gs://{BUCKET}/")
    cloud.storage.write(BUCKET, f"{prefix}metrics.json", body)
    poll(clock)
    run.refresh_from_db()
    assert (run.status, run.metrics, run.error) == ("completed", kept, "")
    assert run.remark.startswith(said)
    assert bool(run.remark) is bool(said)


@pytest.mark.django_db
@pytest.mark.any_database
def test_the_remark_is_on_the_page_and_in_the_api_and_outlives_a_deploy(
    admin_client: Client,
) -> None:
    run: TrainingRun = version_of(RegisteredModelFactory.create())
    TrainingRun.objects.filter(pk=run.pk).update(status="deploying", remark="auc (NaN)")
    DeployedEndpointFactory.create(serving=True, registered_model=run.registered_model, run=run)
    sync_run_status(run.pk)
    page = reverse("ml_platform:training", args=[run.project_id])
    assert "auc (NaN)" in admin_client.get(page).content.decode()
    told = admin_client.get(f"{reverse('ml_platform:start')}api/training-runs/{run.pk}/").json()
    assert (told["status"], told["remark"]) == ("deployed", "auc (NaN)")
