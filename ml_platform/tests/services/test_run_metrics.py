"""metrics.json: finite numbers are kept, and what is not is said in a sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ml_platform.services.training.results import METRICS_MAX, metrics_of
from ml_platform.tests.factories import ProjectFactory

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
        ('{"auc": NaN, "loss": 0.5}', {"loss": 0.5}, "auc"),
        ('{"auc": Infinity, "a": {"b": -Infinity}, "loss": 1}', {"loss": 1}, "auc, a.b"),
        ('{"auc": 1e999, "loss": 1}', {"loss": 1}, "auc"),
        (f'{{"auc": {10**400}, "loss": 1}}', {"loss": 1}, "auc"),
        ('{"auc": "0.9", "f1": null, "ok": true, "loss": 1}', {"loss": 1}, "auc, f1, ok"),
        ('{"auc": [0.9, 0.8], "loss": 1}', {"loss": 1}, "auc"),
        ('{"a\\u0000": 1, "b\\ud800": 2, "loss": 1}', {"loss": 1}, r"a\x00, b\ud800"),
        ('{"": 5, "loss": 1}', {"loss": 1}, "a value without a name"),
        ("0.9", {}, "a value without a name"),
        ('[{"name": "auc", "numberValue": NaN}]', {}, "auc"),
        ('[{"name": "auc", "value": 0.9}]', {}, "a value without a name"),
        ('[{"name": "a", "numberValue": 1}, {"name": "a", "numberValue": 2}]', {"a": 1}, "a"),
    ],
)
def test_what_is_not_kept_is_named_and_the_others_are_kept(
    text: str, kept: dict[str, float], missed: str
) -> None:
    metrics, remark = metrics_of(text)
    assert metrics == kept
    assert remark.startswith(f"{FIRST}{missed}. Up to {METRICS_MAX} finite numbers")


@pytest.mark.parametrize(
    "text", ["", '{"auc": 0.9,}', "[NaN", "auc: 0.9", '{"a":' * 9000, "9" * 5000]
)
def test_what_is_no_json_is_said(text: str) -> None:
    assert metrics_of(text) == ({}, "Its metrics cannot be read: metrics.json is not JSON.")


def test_a_file_as_deep_as_json_allows_is_read() -> None:
    metrics, remark = metrics_of('{"a":' * 900 + "1" + "}" * 900)
    assert (list(metrics.values()), remark) == ([1], "")


def test_too_many_are_counted() -> None:
    metrics, remark = metrics_of(json.dumps({f"m{n:03}": n for n in range(METRICS_MAX + 8)}))
    assert len(metrics) == METRICS_MAX
    assert remark.startswith(f"{FIRST}m200, m201, m202, m203, m204 and 3 more.")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "kept", "said"),
    [
        (b'{"auc": NaN, "loss": 0.5}', {"loss": 0.5}, f"{FIRST}auc."),
        (b'\xef\xbb\xbf{"auc": 0.9}', {"auc": 0.9}, ""),
        (b'{"auc": 0.9,}', {}, "Its metrics cannot be read: metrics.json is not JSON."),
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
    assert (run.status, run.metrics) == ("completed", kept)
    assert run.error.startswith(said)
    assert bool(run.error) is bool(said)
