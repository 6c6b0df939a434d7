"""The judgements about endpoints and Cloud Run services as tables."""

from __future__ import annotations

from uuid import UUID

import pytest

from ml_platform.models import DeployedEndpoint, MirroredService, RegisteredModel, TrainingRun
from ml_platform.models.states import EndpointState, Registration
from ml_platform.services.findings.comparisons.services import (
    DELETE_SERVICE,
    END_ENDPOINT,
    FOREIGN_SERVICE,
    RECORD_SERVED,
    REDEPLOY,
    RELABEL,
    UNKNOWN_SERVICE,
    compare_endpoint,
    compare_leftover,
)
from ml_platform.services.findings.kinds import FindingKind, Kind

from .rows import changed

RUN = TrainingRun(
    pk=7,
    uid=UUID("a" * 32),
    registered_model_id=1,
    project_id=5,
    model_name="chern",
    version=2,
    registration=Registration.REGISTERED,
)
OTHER = changed(RUN, pk=8, uid=UUID("b" * 32), version=3)
ROW = DeployedEndpoint(
    pk=3,
    uid=UUID("e" * 32),
    service_name="chern-svc",
    state=EndpointState.ACTIVE,
    is_active=True,
    model_deleted=False,
    registered_model=RegisteredModel(pk=1, project_id=5, model_name="chern"),
    project_id=5,
    run=RUN,
)
STOPPED = changed(ROW, state=EndpointState.INACTIVE, is_active=False)
ELSEWHERE = changed(STOPPED, service_name="else")
UNREGISTERED = changed(RUN, registered_model_id=None)
SEEN = MirroredService(
    service_name="chern-svc",
    owner="us",
    endpoint_uid=ROW.uid.hex,
    run_uid=RUN.uid.hex,
    uri="https://svc",
)


@pytest.mark.parametrize(
    ("named", "on_its_name", "run", "repair", "words"),
    [
        (ROW, ROW, RUN, None, ""),
        (changed(ROW, state=EndpointState.DEPLOYING), None, RUN, None, ""),
        (changed(STOPPED, state=EndpointState.DEPLOYING), None, RUN, None, ""),
        (changed(STOPPED, state=EndpointState.UNDEPLOYING), None, RUN, None, ""),
        (None, changed(ROW, uid=UUID("f" * 32)), RUN, None, ""),
        (STOPPED, STOPPED, RUN, DELETE_SERVICE, "its endpoint is inactive"),
        (STOPPED, STOPPED, None, DELETE_SERVICE, "its endpoint is inactive"),
        (changed(STOPPED, model_deleted=True), None, RUN, DELETE_SERVICE, "was deleted"),
        (None, None, RUN, DELETE_SERVICE, "no endpoint uses it"),
        (None, None, None, UNKNOWN_SERVICE, "no endpoint uses it"),
        (
            None,
            None,
            changed(RUN, registered_model_id=None),
            UNKNOWN_SERVICE,
            "no endpoint uses it",
        ),
        (
            changed(STOPPED, service_name="else"),
            None,
            RUN,
            UNKNOWN_SERVICE,
            "names the endpoint else",
        ),
    ],
)
def test_a_service_is_left_over_when_no_endpoint_may_need_it(
    named: DeployedEndpoint | None,
    on_its_name: DeployedEndpoint | None,
    run: TrainingRun | None,
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
        (STOPPED, changed(STOPPED, project_id=6), RUN, None),
        (changed(STOPPED, service_name="else", project_id=6), None, RUN, None),
        (None, changed(STOPPED, project_id=6), RUN, None),
        (STOPPED, None, changed(RUN, project_id=6), None),
    ],
)
def test_a_leftover_that_names_things_of_two_tenants_is_shown_to_neither(
    named: DeployedEndpoint | None,
    on_its_name: DeployedEndpoint | None,
    run: TrainingRun | None,
    shown_to: int | None,
) -> None:
    drift = compare_leftover(SEEN, named, on_its_name, run, own=True)
    assert drift is not None
    assert drift.project_id == shown_to


def test_labels_of_another_tenants_run_are_no_evidence_for_the_endpoints_project() -> None:
    theirs = changed(OTHER, project_id=6, registered_model_id=9, model_name="theirs")
    for seen in (SEEN, changed(SEEN, endpoint_uid="f" * 32)):
        drift = compare_endpoint(ROW, changed(seen, run_uid=theirs.uid.hex), theirs, owner="us")
        assert drift is not None
        told = f"{drift.title} {drift.evidence}"
        assert not [word for word in ("theirs", theirs.uid.hex, "f" * 32) if word in told]


@pytest.mark.parametrize(
    ("seen", "run", "kind", "repair", "run_id"),
    [
        (SEEN, RUN, None, None, None),
        (None, None, FindingKind.SERVICE_MISSING, END_ENDPOINT, 7),
        (
            changed(SEEN, run_uid=OTHER.uid.hex),
            OTHER,
            FindingKind.SERVICE_MISMATCH,
            RECORD_SERVED,
            8,
        ),
        (
            changed(SEEN, run_uid=OTHER.uid.hex),
            changed(OTHER, registration=Registration.DELETED),
            FindingKind.SERVICE_MISMATCH,
            REDEPLOY,
            None,
        ),
        (
            changed(SEEN, run_uid=OTHER.uid.hex),
            changed(OTHER, registered_model_id=2),
            FindingKind.SERVICE_MISMATCH,
            REDEPLOY,
            None,
        ),
        (changed(SEEN, run_uid=""), None, FindingKind.SERVICE_MISMATCH, REDEPLOY, None),
        (changed(SEEN, owner=""), RUN, FindingKind.SERVICE_LABELS_CHANGED, RELABEL, 7),
        (
            changed(SEEN, owner="them"),
            RUN,
            FindingKind.SERVICE_LABELS_CHANGED,
            FOREIGN_SERVICE,
            None,
        ),
        (
            changed(SEEN, endpoint_uid="f" * 32),
            RUN,
            FindingKind.SERVICE_LABELS_CHANGED,
            RELABEL,
            7,
        ),
    ],
)
def test_an_active_endpoint_has_its_service_with_its_labels_and_its_run(
    seen: MirroredService | None,
    run: TrainingRun | None,
    kind: Kind | None,
    repair: str | None,
    run_id: int | None,
) -> None:
    drift = compare_endpoint(ROW, seen, run, owner="us")
    assert (drift.kind if drift else None) == kind
    if drift:
        assert (drift.repair, drift.run_id, drift.lineage_id) == (repair, run_id, 1)
        assert drift.subject == "service chern-svc"
