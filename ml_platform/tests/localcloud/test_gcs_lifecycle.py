"""Lifecycle rules, refused settings of a bucket, and what a restart keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
from google.cloud.storage import Bucket

from ml_platform.localcloud import LocalCloud

from .gcs_ways import BUCKET, history, patched

_DAY = 86_400


def test_lifecycle_rules_delete_what_is_due_each_midnight(
    cloud: LocalCloud, versions: Bucket
) -> None:
    patched(
        versions,
        retentionPolicy=None,
        lifecycle={
            "rule": [
                {"action": {"type": "Delete"}, "condition": {"numNewerVersions": 2}},
                {
                    "action": {"type": "Delete"},
                    "condition": {"age": 3, "isLive": True, "matchesPrefix": ["tmp/"]},
                },
            ]
        },
    )
    for text in (b"1", b"2", b"3"):
        versions.blob("a").upload_from_string(text)
    for name in ("tmp/free", "tmp/held", "kept"):
        versions.blob(name).upload_from_string(b"x")
    held = versions.blob("tmp/held")
    held.temporary_hold = True
    held.patch()
    cloud.clock.advance(_DAY)
    assert [text for name, text in history(versions) if name == "a"] == [b"2", b"3"]
    assert cloud.storage.names(BUCKET, "tmp/") == ["tmp/free", "tmp/held"]
    cloud.clock.advance(3 * _DAY)
    assert cloud.storage.names(BUCKET) == ["a", "kept", "tmp/held"]
    assert ("tmp/free", b"x") in history(versions)
    landed = [call.detail["name"] for call in cloud.effects.mutations("Internal")]
    assert landed == ["a", "tmp/free"]


@pytest.mark.parametrize(
    ("setting", "value", "status"),
    [
        ("autoclass", {"enabled": True}, 501),
        ("billing", {"requesterPays": True}, 501),
        ("encryption", {"defaultKmsKeyName": "projects/p/locations/l/keyRings/r/k"}, 501),
        ("hierarchicalNamespace", {"enabled": True}, 501),
        ("ipFilter", {"mode": "Enabled"}, 501),
        (
            "lifecycle",
            {
                "rule": [
                    {
                        "action": {"type": "SetStorageClass", "storageClass": "COLDLINE"},
                        "condition": {"age": 1},
                    }
                ]
            },
            501,
        ),
        ("lifecycle", {"rule": [{"action": {"type": "Delete"}, "condition": {}}]}, 400),
        ("lifecycle", {"rule": [{"action": {"type": "Delete"}, "condition": {"age": "x"}}]}, 400),
        ("lifecycle", {"rule": [{"action": {"type": "Delete"}, "condition": {"moon": 1}}]}, 400),
        (
            "lifecycle",
            {"rule": [{"action": {"type": "Delete"}, "condition": {"matchesPrefix": "tmp/"}}]},
            400,
        ),
        ("retentionPolicy", {"retentionPeriod": "0"}, 400),
        ("retentionPolicy", {"retentionPeriod": "3155760001"}, 400),
        ("autoclass", {"enabled": False}, 200),
        ("cors", [{"origin": ["*"], "method": ["GET"]}], 501),
        ("website", {"mainPageSuffix": "index.html"}, 501),
        ("logging", {"logBucket": "logs"}, 501),
    ],
)
def test_a_setting_is_honoured_or_refused(
    cloud: LocalCloud, bucket: Bucket, setting: str, value: Any, status: int
) -> None:
    url = f"{cloud.http_url}/storage/v1/b/{BUCKET}"
    answer = requests.patch(url, json={setting: value}, timeout=5)
    assert answer.status_code == status
    assert (setting in requests.get(url, timeout=5).json()) == (status == 200)


# survival


def test_what_was_deleted_and_its_end_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "cloud.sqlite"
    rule: dict[str, Any] = {"action": {"type": "Delete"}, "condition": {"age": 1}}
    with LocalCloud(state=path) as first:
        for text in (b"0", b"1"):
            first.storage.write(BUCKET, "a", text)
        url = f"{first.http_url}/storage/v1/b/{BUCKET}"
        requests.patch(url, json={"versioning": {"enabled": True}}, timeout=5)
        old = first.storage.write(BUCKET, "a", b"2")
        requests.delete(f"{url}/o/a", timeout=5)
        requests.patch(url, json={"lifecycle": {"rule": [rule]}}, timeout=5)
    with LocalCloud(state=path) as second:
        url = f"{second.http_url}/storage/v1/b/{BUCKET}/o"
        kept = requests.get(f"{url}/a?generation={old}&alt=media", timeout=5)
        assert kept.content == b"2"
        soft = requests.get(f"{url}?softDeleted=true", timeout=5).json()["items"]
        assert len(soft) == 1
        second.clock.advance(2 * _DAY)
        assert "items" not in requests.get(f"{url}?versions=true", timeout=5).json()
        second.clock.advance(7 * _DAY)
        assert "items" not in requests.get(f"{url}?softDeleted=true", timeout=5).json()
