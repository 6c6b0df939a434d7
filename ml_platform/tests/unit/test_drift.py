"""The judgements about drift as tables: what is said of which pair of row and remote thing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ml_platform.cloud.names import ModelName
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.models.registry.manifest import FilesState
from ml_platform.models.states import Registration
from ml_platform.services.findings.comparisons.models import (
    ListedModel,
    Location,
    compare_lineage,
    compare_unclaimed,
)
from ml_platform.services.findings.comparisons.versions import is_unlabelled_upload
from ml_platform.services.findings.discrepancy import (
    compare_artifacts,
    compare_orphan,
)
from ml_platform.services.findings.kinds import FindingKind, Kind
from ml_platform.services.ownership.identification import REBORN_MARGIN

from .rows import changed

THEN = datetime(2026, 2, 8, 12, tzinfo=UTC)
NAME = ModelName("123", "europe-central2", "m1")
HERE = Location(project="acme", number="123", location="europe-central2", owner="us")
UID = "a" * 32
LINEAGE = RegisteredModel(
    pk=1,
    project_id=1,
    model_name="chern",
    vertex_model_resource_name=str(NAME),
    total_versions=2,
    latest_registered_at=THEN,
)
SEEN = ListedModel(
    name=NAME,
    display_name="chern",
    version="2",
    owner="us",
    run_uid=UID,
    artifact_uri="gs://bucket/runs/1/",
    created_at=THEN - timedelta(days=1),
)
NOWHERE = {"vertex_model_resource_name": "", "vertex_model_version": ""}
RUN = TrainingRun(
    pk=7,
    registered_model_id=1,
    project_id=1,
    model_name="chern",
    version=2,
    registration=Registration.REGISTERED,
    vertex_model_resource_name=str(NAME),
    vertex_model_version="2",
    gcs_artifacts_path="gs://bucket/runs/7",
)


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("projects/123/locations/europe-central2/models/m1", True),
        ("projects/acme/locations/europe-central2/models/m1", True),
        ("projects/124/locations/europe-central2/models/m1", False),
        ("projects/other/locations/europe-central2/models/m1", False),
        ("projects/123/locations/us-east1/models/m1", False),
    ],
)
def test_a_listing_speaks_only_of_its_own_project_and_location(name: str, held: bool) -> None:
    assert HERE.holds(ModelName.parse(name)) is held


def test_while_the_number_is_not_known_any_number_may_be_ours() -> None:
    place = replace(HERE, number="")
    assert place.holds(replace(NAME, project="999"))
    assert not place.holds(replace(NAME, project="other"))


@pytest.mark.parametrize(
    ("seen", "run", "kind", "words"),
    [
        (SEEN, RUN, None, ""),
        (SEEN, changed(RUN, registration=Registration.DELETING), None, ""),
        (None, None, FindingKind.STALE_POINTER, "Vertex AI does not list it"),
        (SEEN, None, FindingKind.VERSION_MISMATCH, "none of our runs"),
        (replace(SEEN, owner=""), RUN, FindingKind.VERSION_MISMATCH, ""),
        (replace(SEEN, owner="them"), RUN, FindingKind.VERSION_MISMATCH, ""),
        (SEEN, changed(RUN, registered_model_id=2), FindingKind.VERSION_MISMATCH, "a run of chern"),
        (
            replace(SEEN, version="3"),
            RUN,
            FindingKind.SURPLUS_VERSION,
            "which is version 2 there",
        ),
        (
            replace(SEEN, version="3"),
            changed(RUN, vertex_model_resource_name=str(replace(NAME, location="us-east1"))),
            FindingKind.SURPLUS_VERSION,
            "which is version 2 in us-east1",
        ),
        (
            replace(SEEN, version="3"),
            changed(RUN, vertex_model_resource_name=str(replace(NAME, model_id="m2"))),
            FindingKind.SURPLUS_VERSION,
            "which is version 2 of model m2",
        ),
        (
            SEEN,
            changed(RUN, registration=Registration.DELETED, **NOWHERE),
            FindingKind.SURPLUS_VERSION,
            "v2 of run 7, which is deleted",
        ),
        (
            SEEN,
            changed(RUN, registration=Registration.LOST, **NOWHERE),
            FindingKind.VERSION_MISMATCH,
            "our run 7, whose version is lost",
        ),
        (
            replace(SEEN, created_at=THEN + REBORN_MARGIN),
            None,
            FindingKind.VERSION_MISMATCH,
            "none of our runs",
        ),
        (
            replace(SEEN, created_at=THEN + REBORN_MARGIN + timedelta(seconds=1)),
            None,
            FindingKind.STALE_POINTER,
            "created after ours",
        ),
        (replace(SEEN, created_at=THEN + timedelta(days=1)), RUN, None, ""),
    ],
)
def test_a_pointer_is_name_version_and_label(
    seen: ListedModel | None, run: TrainingRun | None, kind: Kind | None, words: str
) -> None:
    drift = compare_lineage(LINEAGE, seen, run, HERE)
    assert (drift.kind if drift else None) == kind
    if drift:
        assert words in drift.title
        assert (drift.subject, drift.lineage_id) == (str(NAME), 1)


LOST = changed(
    RUN,
    registration=Registration.LOST,
    last_vertex_version=f"{NAME.at('2')}".replace("123", "acme"),
)


@pytest.mark.parametrize(
    ("seen", "run", "kind", "project"),
    [
        (replace(SEEN, owner="", run_uid=""), None, FindingKind.UNMANAGED, None),
        (replace(SEEN, owner="them"), None, FindingKind.UNMANAGED, None),
        (replace(SEEN, owner="them"), LOST, FindingKind.UNMANAGED, None),
        (SEEN, None, FindingKind.UNMANAGED, None),
        (SEEN, changed(RUN, registration=Registration.DELETED), FindingKind.SURPLUS_VERSION, 1),
        (SEEN, changed(RUN, registration=Registration.NONE), FindingKind.UNMANAGED, 1),
        (SEEN, changed(RUN, registration=Registration.DELETING), FindingKind.UNMANAGED, 1),
        (
            SEEN,
            changed(RUN, vertex_model_resource_name="x/locations/europe-central2/models/m2"),
            FindingKind.SURPLUS_VERSION,
            1,
        ),
        (
            replace(SEEN, owner="them"),
            changed(RUN, registration=Registration.DELETED),
            FindingKind.UNMANAGED,
            None,
        ),
        (SEEN, LOST, FindingKind.VERSION_MISMATCH, 1),
        (replace(SEEN, version="3"), LOST, FindingKind.UNMANAGED, 1),
    ],
)
def test_what_no_version_points_at_is_unmanaged_or_back(
    seen: ListedModel, run: TrainingRun | None, kind: Kind, project: int | None
) -> None:
    drift = compare_unclaimed(seen, run, HERE, own=True)
    assert (drift.kind, drift.project_id) == (kind, project)


def test_a_lost_version_that_is_back_is_restored_only_into_its_own_model() -> None:
    back = compare_unclaimed(SEEN, LOST, HERE, own=True, current=str(replace(NAME, project="acme")))
    assert back.kind == FindingKind.VERSION_MISMATCH
    replaced = str(replace(NAME, model_id="m2"))
    drift = compare_unclaimed(SEEN, LOST, HERE, own=True, current=replaced)
    assert (drift.kind, drift.evidence["our_pointer"]) == (FindingKind.UNMANAGED, replaced)


def test_artifacts_are_there_or_missing() -> None:
    assert compare_artifacts(RUN, None, FilesState.UNCHECKED, {}) is None
    missing = compare_artifacts(RUN, None, FilesState.MISSING, {})
    assert missing is not None
    assert (missing.kind, missing.run_id) == (FindingKind.ARTIFACTS_MISSING, 7)
    assert missing.evidence["artifacts"] == "gs://bucket/runs/7/"


def test_an_orphan_says_what_stays() -> None:
    orphan = RegisteredModel(pk=5, project_id=1, model_name="x", created_at=THEN)
    drift = compare_orphan(orphan, runs=0, schedules=1)
    assert drift.repair.endswith("1 ended schedule and 0 ended runs stay, detached from it.")


def test_titles_fit_their_column() -> None:
    name = str(replace(NAME, model_id="i" * 63))
    long = changed(LINEAGE, model_name="m" * 63, vertex_model_resource_name=name)
    far = changed(RUN, registered_model_id=2, model_name="n" * 63)
    for drift in (compare_lineage(long, None, None, HERE), compare_lineage(long, SEEN, far, HERE)):
        assert drift is not None
        assert max(len(drift.title), len(drift.repair), len(drift.subject)) <= 255


def test_an_upload_of_a_run_that_lost_its_label_is_known_by_its_folder():
    """Registering the run records it, when it has its label again; nobody adopts it before."""
    uid = "9c1d" * 8
    waiting = changed(RUN, registration=Registration.NONE)
    folder = f"gs://bucket/runs/{uid}/pushed_model/1"
    unlabelled = replace(SEEN, run_uid="", artifact_uri=folder)
    assert unlabelled.files_uid == uid
    assert replace(SEEN, artifact_uri="gs://bucket/theirs/1").files_uid == ""
    assert is_unlabelled_upload(unlabelled, waiting)
    assert not is_unlabelled_upload(replace(unlabelled, run_uid=waiting.uid.hex), waiting)
    assert not is_unlabelled_upload(unlabelled, None)
    assert not is_unlabelled_upload(unlabelled, changed(RUN, registration=Registration.LOST))
