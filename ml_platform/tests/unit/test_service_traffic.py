"""Which revisions may get an endpoint's requests without a finding."""

from __future__ import annotations

import pytest

from ml_platform.models import EndpointTraffic
from ml_platform.services.findings.comparisons.services import SEND_TRAFFIC, compare_endpoint
from ml_platform.services.findings.kinds import FindingKind

from .rows import changed
from .test_service_drift import ROW, RUN, SEEN


@pytest.mark.parametrize(
    ("serving", "strange"),
    [
        ((), ""),
        (("chern-3",), ""),
        (("chern-2",), ""),
        (("chern-2", "chern-3"), ""),
        (("chern-1",), "chern-1"),
        (("chern-0", "chern-1", "chern-3"), "chern-0, chern-1"),
    ],
)
def test_requests_go_to_the_newest_revision_or_to_the_one_that_we_saw(
    serving: tuple[str, ...], strange: str
):
    seen = changed(SEEN, newest_revision="chern-3")
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
