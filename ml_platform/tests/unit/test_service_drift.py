"""The judgements about endpoints and Cloud Run services as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ml_platform.models.states import EndpointState, Registration
from ml_platform.services.findings.compare_services import (
    DELETE_SERVICE,
    END_ENDPOINT,
    FOREIGN_SERVICE,
    RECORD_SERVED,
    REDEPLOY,
    UNKNOWN_SERVICE,
    Endpoint,
    SeenService,
    Served,
    compare_endpoint,
    compare_leftover,
)
from ml_platform.services.findings.kinds import FindingKind

RUN = Served(
    id=7,
    uid="a" * 32,
    lineage_id=1,
    project_id=5,
    model_name="chern",
    number=2,
    registration=Registration.REGISTERED,
)
OTHER = replace(RUN, id=8, uid="b" * 32, number=3)
ROW = Endpoint(
    id=3,
    uid="e" * 32,
    name="chern-svc",
    state=EndpointState.ACTIVE,
    is_active=True,
    model_deleted=False,
    lineage_id=1,
    project_id=5,
    model_name="chern",
    run=RUN,
)
STOPPED = replace(ROW, state=EndpointState.INACTIVE, is_active=False)
SEEN = SeenService(
    name="chern-svc", owner="us", endpoint_uid=ROW.uid, run_uid=RUN.uid, uri="https://svc"
)


@pytest.mark.parametrize(
    ("named", "on_its_name", "run", "repair", "words"),
    [
        (ROW, ROW, RUN, None, ""),
        (replace(ROW, state=EndpointState.DEPLOYING), None, RUN, None, ""),
        (replace(STOPPED, state=EndpointState.DEPLOYING), None, RUN, None, ""),
        (replace(STOPPED, state=EndpointState.UNDEPLOYING), None, RUN, None, ""),
        (None, replace(ROW, uid="f" * 32), RUN, None, ""),
        (STOPPED, STOPPED, RUN, DELETE_SERVICE, "its endpoint is inactive"),
        (STOPPED, STOPPED, None, DELETE_SERVICE, "its endpoint is inactive"),
        (replace(STOPPED, model_deleted=True), None, RUN, DELETE_SERVICE, "was deleted"),
        (None, None, RUN, DELETE_SERVICE, "no endpoint uses it"),
        (None, None, None, UNKNOWN_SERVICE, "no endpoint uses it"),
        (None, None, replace(RUN, lineage_id=None), UNKNOWN_SERVICE, "no endpoint uses it"),
        (replace(STOPPED, name="else"), None, RUN, UNKNOWN_SERVICE, "names the endpoint else"),
    ],
)
def test_a_service_is_left_over_when_no_endpoint_may_need_it(
    named: Endpoint | None,
    on_its_name: Endpoint | None,
    run: Served | None,
    repair: str | None,
    words: str,
) -> None:
    drift = compare_leftover(SEEN, named, on_its_name, run, own=True)
    assert (drift.repair if drift else None) == repair
    if drift:
        assert drift.kind == FindingKind.LEFTOVER_SERVICE
        assert words in drift.title
        assert (drift.lineage_id is None) == (repair == UNKNOWN_SERVICE)


@pytest.mark.parametrize(
    ("named", "on_its_name", "run", "shown_to"),
    [
        (STOPPED, STOPPED, RUN, 5),
        (None, None, RUN, 5),
        (STOPPED, replace(STOPPED, project_id=6), RUN, None),
        (replace(STOPPED, name="else", project_id=6), None, RUN, None),
        (None, replace(STOPPED, project_id=6), RUN, None),
        (STOPPED, None, replace(RUN, project_id=6), None),
    ],
)
def test_a_leftover_that_names_things_of_two_tenants_is_shown_to_neither(
    named: Endpoint | None, on_its_name: Endpoint | None, run: Served | None, shown_to: int | None
) -> None:
    drift = compare_leftover(SEEN, named, on_its_name, run, own=True)
    assert drift is not None
    assert drift.project_id == shown_to


def test_labels_of_another_tenants_run_are_no_evidence_for_the_endpoints_project() -> None:
    theirs = replace(OTHER, project_id=6, lineage_id=9, model_name="theirs")
    for seen in (SEEN, replace(SEEN, endpoint_uid="f" * 32)):
        drift = compare_endpoint(ROW, replace(seen, run_uid=theirs.uid), theirs, owner="us")
        assert drift is not None
        told = f"{drift.title} {drift.evidence}"
        assert not [word for word in ("theirs", theirs.uid, "f" * 32) if word in told]


@pytest.mark.parametrize(
    ("seen", "run", "kind", "repair", "run_id"),
    [
        (SEEN, RUN, None, None, None),
        (None, None, FindingKind.SERVICE_MISSING, END_ENDPOINT, 7),
        (
            replace(SEEN, run_uid=OTHER.uid),
            OTHER,
            FindingKind.SERVICE_MISMATCH,
            RECORD_SERVED,
            8,
        ),
        (
            replace(SEEN, run_uid=OTHER.uid),
            replace(OTHER, registration=Registration.DELETED),
            FindingKind.SERVICE_MISMATCH,
            REDEPLOY,
            None,
        ),
        (
            replace(SEEN, run_uid=OTHER.uid),
            replace(OTHER, lineage_id=2),
            FindingKind.SERVICE_MISMATCH,
            REDEPLOY,
            None,
        ),
        (replace(SEEN, run_uid=""), None, FindingKind.SERVICE_MISMATCH, REDEPLOY, None),
        (replace(SEEN, owner=""), RUN, FindingKind.SERVICE_MISMATCH, FOREIGN_SERVICE, None),
        (replace(SEEN, owner="them"), RUN, FindingKind.SERVICE_MISMATCH, FOREIGN_SERVICE, None),
        (
            replace(SEEN, endpoint_uid="f" * 32),
            RUN,
            FindingKind.SERVICE_MISMATCH,
            FOREIGN_SERVICE,
            None,
        ),
    ],
)
def test_an_active_endpoint_has_its_service_with_its_labels_and_its_run(
    seen: SeenService | None,
    run: Served | None,
    kind: FindingKind | None,
    repair: str | None,
    run_id: int | None,
) -> None:
    drift = compare_endpoint(ROW, seen, run, owner="us")
    assert (drift.kind if drift else None) == kind
    if drift:
        assert (drift.repair, drift.run_id, drift.lineage_id) == (repair, run_id, 1)
        assert drift.subject == "service chern-svc"
