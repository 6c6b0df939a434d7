"""Which revisions may get an endpoint's requests without a finding."""

from __future__ import annotations

import pytest

from ml_platform.models import EndpointTraffic
from ml_platform.services.findings.comparisons.services import (
    RECORD_SERVED,
    REDEPLOY,
    SEND_TRAFFIC,
    compare_endpoint,
)
from ml_platform.services.findings.kinds import FindingKind

from .rows import changed
from .test_service_drift import OTHER, ROW, RUN, SEEN


@pytest.mark.parametrize(
    ("serving", "strange"),
    [
        ((), ""),
        (("chern-3",), ""),
        (("chern-2",), ""),
        (("chern-2", "chern-3"), ""),
        (("chern-1",), "chern-1"),
        (("chern-0", "chern-1", "chern-3"), "chern-0, chern-1"),
        (("chern-2b",), ""),
    ],
)
def test_requests_go_to_the_newest_revision_or_ready_one_or_to_the_one_that_we_saw(
    serving: tuple[str, ...], strange: str
):
    seen = changed(SEEN, newest_revision="chern-3", ready_revision="chern-2b")
    traffic = [EndpointTraffic(revision=name, percent=50) for name in serving]
    found = compare_endpoint(changed(ROW, revision="chern-2"), seen, RUN, traffic, owner="us")
    if not strange:
        assert found is None
        return
    assert found is not None
    assert (found.kind, found.repair, found.run_id) == (
        FindingKind.SERVICE_MISMATCH, SEND_TRAFFIC, None,
    )  # fmt: skip
    assert f"sends requests to {strange}, but" in found.title


@pytest.mark.parametrize(
    ("serving", "other_files", "repair", "words"),
    [
        ("chern-3", False, RECORD_SERVED, "serves chern v3, but"),
        ("chern-2", False, REDEPLOY, "has a revision of chern v3 without all the traffic, but"),
        ("chern-3", True, REDEPLOY, "has the label of chern v3 and the files of another, but"),
    ],
)
def test_another_version_is_recorded_only_where_its_files_get_all_requests(
    serving: str, other_files: bool, repair: str, words: str
):
    seen = changed(SEEN, run_uid=OTHER.uid.hex, newest_revision="chern-3")
    found = compare_endpoint(
        changed(ROW, revision="chern-2"),
        seen,
        OTHER,
        [EndpointTraffic(revision=serving, percent=100)],
        owner="us",
        other_files=other_files,
    )
    assert found is not None
    assert (found.kind, found.repair) == (FindingKind.SERVICE_MISMATCH, repair)
    assert words in found.title
    assert found.run_id == (OTHER.pk if repair == RECORD_SERVED else None)
