"""Aliases and versions that Vertex AI has elsewhere than our records: found, named and repaired."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.transport import channels
from ml_platform.models import (
    DeployedEndpoint,
    EndpointTraffic,
    Finding,
    MirroredModel,
    Operation,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.clock import database_now
from ml_platform.models.endpoints.serving_truth import with_served_version
from ml_platform.models.states import FindingStatus, OperationStatus, Registration
from ml_platform.services.findings.kinds import FindingKind, Kind
from ml_platform.services.ownership.labels import RUN, labels_for
from ml_platform.services.registration.approval import approve_version
from ml_platform.services.registry.aliases import set_aliases
from ml_platform.services.registry.lineages import sync_version_cache
from ml_platform.services.repairs.reconciliation import (
    NoRepair,
    finish_operation,
    is_safe,
    repair_finding,
)
from ml_platform.services.sweeps import changed_versions
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.factories import DeployedEndpointFactory

from .world import ANA, Clock, a_lineage, no_pause, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
ALIAS = FindingKind.ALIAS_MOVED
MORE = FindingKind.MORE_VERSIONS
MISSING = FindingKind.VERSION_MISSING
SURPLUS = FindingKind.SURPLUS_VERSION
VERSIONS = "ModelService.ListModelVersions"


@pytest.fixture
def clock(cloud: LocalCloud) -> Clock:
    return Clock(database_now())


def look(clock: Clock) -> None:
    clock.forward(600)
    sweep(actor=ANA, clock=clock)


def name_of(lineage: RegisteredModel) -> ModelName:
    return ModelName.parse(lineage.vertex_model_resource_name)


def in_console(lineage: RegisteredModel, version: int, *change: str) -> None:
    vertex.merge_version_aliases(name_of(lineage).at(str(version)), change)


def ours(lineage: RegisteredModel) -> dict[int | None, list[str]]:
    runs = lineage.training_runs.order_by("version")
    return {run.version: [a for a in run.aliases if a != "default"] for run in runs}


def theirs(lineage: RegisteredModel) -> dict[int, list[str]]:
    pages = vertex.list_model_versions(name_of(lineage))
    found = {int(v.version): v.aliases for page in pages for v in page}
    return {number: [a for a in found[number] if a != "default"] for number in sorted(found)}


def finding(kind: Kind) -> Finding:
    return Finding.objects.get(kind=kind, status=FindingStatus.OPEN)


def repair(kind: Kind, clock: Clock, named: str = "") -> Operation:
    named = named or ("take_over" if kind == ALIAS else "")
    opened = repair_finding(finding=finding(kind), actor=ANA, now=clock(), repair=named)
    return finish_operation(operation=opened, clock=clock, pause=no_pause)


def put_back(clock: Clock) -> Operation:
    return repair(ALIAS, clock, "put_back")


def kinds() -> list[str]:
    return sorted(Finding.objects.open().values_list("kind", flat=True))


def upload(cloud: LocalCloud, lineage: RegisteredModel, **labels: str) -> None:
    """A version that a person uploads by hand, which takes the alias default."""
    cloud.storage.write("demo-artifacts", "hand/saved_model.pb", b"by hand")
    vertex.upload_model(
        display_name=lineage.model_name,
        artifact_uri="gs://demo-artifacts/hand",
        serving_image="image",
        labels=labels,
        parent_model=name_of(lineage),
    )


# ---- aliases -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_alias_that_moved_in_the_console_is_taken_over(cloud: LocalCloud, clock: Clock) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=3)
    set_aliases(run=runs[0], add=["stable"], actor=ANA, now=clock())
    settle(clock)
    look(clock)
    assert kinds() == []
    in_console(lineage, 2, "stable")
    look(clock)
    one = finding(ALIAS)
    assert one.title == "chern: the alias stable is on v2 in Vertex AI, on v1 in our records"
    assert (one.run, one.evidence["protected"]) == (runs[0], False)
    cloud.effects.reset()
    assert repair(ALIAS, clock).status == OperationStatus.SUCCEEDED
    assert cloud.effects.mutations() == []
    assert ours(lineage) == theirs(lineage) == {1: [], 2: ["stable"], 3: []}
    look(clock)
    assert kinds() == []


@pytest.mark.parametrize(("before", "change"), [(["blue-1"], "-blue-1"), ([], "blue-A1")])
def test_an_alias_of_one_side_only_is_found_and_taken_over(
    cloud: LocalCloud, clock: Clock, before: list[str], change: str
) -> None:
    """It vanished in Vertex AI, or exists only there; Vertex AI allows capital letters too."""
    lineage, runs = a_lineage(cloud, clock)
    if before:
        set_aliases(run=runs[0], add=before, actor=ANA, now=clock())
        settle(clock)
        in_console(lineage, 1, change)
    else:
        request = {"name": str(name_of(lineage).at("1")), "version_aliases": [change]}
        channels.rpc("ModelService.MergeVersionAliases", request, lambda _: None)
    look(clock)
    words = "on no version in Vertex AI, on v1" if before else "on v1 in Vertex AI, on no version"
    assert words in finding(ALIAS).title
    assert is_safe(finding(ALIAS))
    if not before:
        with pytest.raises(NoRepair, match="not an alias by our pattern"):
            put_back(clock)
    assert repair(ALIAS, clock).status == OperationStatus.SUCCEEDED
    assert ours(lineage) == theirs(lineage)
    look(clock)
    assert kinds() == []


@pytest.mark.slow
def test_a_protected_alias_is_put_back_or_taken_over_as_a_person_chooses(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    set_aliases(run=runs[0], add=["champion"], actor=ANA, now=clock(), administers=True)
    settle(clock)
    in_console(lineage, 2, "champion")
    look(clock)
    assert not is_safe(finding(ALIAS))
    assert "a person chooses" in finding(ALIAS).repair
    cloud.faults.order("ModelService.MergeVersionAliases", "lost", code="UNAVAILABLE")
    assert put_back(clock).status == OperationStatus.SUCCEEDED
    assert ours(lineage) == theirs(lineage) == {1: ["champion"], 2: []}
    look(clock)
    assert kinds() == []
    in_console(lineage, 2, "champion")
    look(clock)
    in_console(lineage, 1, "champion")
    assert put_back(clock).status == OperationStatus.SUCCEEDED
    assert Finding.objects.latest("pk").status == FindingStatus.GONE, "it was back already"
    in_console(lineage, 2, "champion")
    look(clock)
    in_console(lineage, 2, "-champion")
    failed = put_back(clock)
    assert (failed.status, failed.error_code) == ("failed", "alias_moved_again")
    assert finding(ALIAS).status == FindingStatus.OPEN


def test_an_alias_that_others_added_is_removed_there_when_ours_is_put_back(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, _ = a_lineage(cloud, clock)
    in_console(lineage, 1, "mine")
    look(clock)
    assert put_back(clock).status == OperationStatus.SUCCEEDED
    assert ours(lineage) == theirs(lineage) == {1: []}


# ---- more versions -------------------------------------------------------------------------------


@pytest.mark.slow
def test_versions_after_a_restore_are_adopted_into_the_same_model(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=3)
    forget_registration(lineage, runs[1])  # the run is there, as when it had completed
    in_console(lineage, 2, "golden")
    forget_registration(lineage, runs[2])
    runs[2].delete()  # not even its run was in the backup
    RegisteredModel.objects.filter(pk=lineage.pk).update(next_version=2)
    upload(cloud, lineage, team="ranking", created_by="bob")
    look(clock)
    assert kinds() == [MORE], "and no mismatch beside it, although the default is none of ours"
    one = finding(MORE)
    assert one.title == "chern: Vertex AI has 3 versions that no record has: 2, 3, 4"
    lineage.refresh_from_db()
    assert lineage.registry_state == "verified"
    operation = repair(MORE, clock)
    assert operation.status == OperationStatus.SUCCEEDED
    versions = list(lineage.training_runs.versions().order_by("version"))
    assert [v.vertex_model_version for v in versions] == ["1", "2", "3", "4"]
    assert versions[1].pk == runs[1].pk, "a run is one version"
    assert versions[1].aliases == ["golden"]
    assert versions[3].parameters == {
        "adopted_from": "gs://demo-artifacts/hand",
        "adopted": {"creator": "bob", "labels": {"team": "ranking", "created_by": "bob"}},
    }
    assert [v.is_accepted for v in versions] == [bool(runs[0].is_blessed)] * 2 + [False, False]
    assert "the creator of v2, v3, the metrics" in operation.steps[-2]["note"]
    pages = vertex.list_model_versions(name_of(lineage))
    labels = {v.version: v.labels for page in pages for v in page}
    assert [labels[v.vertex_model_version][RUN] for v in versions] == [v.uid.hex for v in versions]
    look(clock)
    assert kinds() == []
    approve_version(run=versions[3], actor=ANA, reason="compared by hand", now=clock())
    assert TrainingRun.objects.get(pk=versions[3].pk).is_accepted


def forget_registration(lineage: RegisteredModel, run: TrainingRun) -> None:
    """As a backup from before the registration has it."""
    TrainingRun.objects.filter(pk=run.pk).update(
        registration=Registration.NONE,
        registered_model=None,
        version=None,
        vertex_model_resource_name="",
        vertex_model_name="",
        vertex_model_version="",
        registered_at=None,
        aliases=[],
    )
    sync_version_cache(registered_model=lineage)


def test_what_is_not_ours_to_adopt_is_left(cloud: LocalCloud, clock: Clock) -> None:
    """A version of another installation, a surplus one, and one whose run has not ended."""
    lineage, runs = a_lineage(cloud, clock, versions=2)
    upload(cloud, lineage, mlp_owner="another", mlp_run="0" * 32)
    upload(cloud, lineage, **labels_for(lineage=lineage.uid, run=runs[0].uid))
    forget_registration(lineage, runs[1])
    TrainingRun.objects.filter(pk=runs[1].pk).update(status="running")
    look(clock)
    assert MORE not in kinds()


# ---- versions that are gone, or too many ---------------------------------------------------------


@pytest.mark.slow
def test_a_version_that_is_not_the_default_one_is_missed_and_its_pointer_cleared(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=3)
    served = serving(runs[0], clock)
    look(clock)
    assert served() == "verified"
    vertex.delete_model_version(name_of(lineage).at("1"))
    cloud.faults.order(VERSIONS, "error", code="UNAVAILABLE", times=None)
    look(clock)
    assert MISSING not in kinds(), "what could not be read is not gone"
    cloud.faults.clear()
    look(clock)
    one = finding(MISSING)
    assert (one.run, one.subject) == (runs[0], f"{name_of(lineage)}@1")
    assert one.title == "chern v1: Vertex AI has the model without version 1"
    assert is_safe(one)
    assert served() == "unknown", "absence is believed the second time"
    look(clock)
    assert finding(MISSING).consecutive_sightings == 1, "not read again, but it stays"
    clock.forward(timedelta(days=1).total_seconds())
    look(clock)
    assert served() == "missing"
    cloud.effects.reset()
    assert repair(MISSING, clock).status == OperationStatus.SUCCEEDED
    assert cloud.effects.mutations() == []
    lineage.refresh_from_db()
    assert lineage.total_versions == 2
    assert served() == "lost"
    look(clock)
    assert MISSING not in kinds()


def serving(run: TrainingRun, clock: Clock) -> Callable[[], str]:
    """Give the version an endpoint; returns what tells whether that is verified."""
    endpoint: DeployedEndpoint = DeployedEndpointFactory.create(
        serving=True, registered_model=run.registered_model, run=run
    )
    traffic = EndpointTraffic(endpoint=endpoint, run=run, revision="r", percent=100)

    def served() -> str:
        traffic.seen_at = clock()
        traffic.save()
        return str(with_served_version(EndpointTraffic.objects.all(), now=clock()).get().served)

    return served


def test_a_version_that_the_listing_may_not_show_yet_is_not_missed(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    vertex.delete_model_version(name_of(lineage).at("1"))
    clock.forward(600)
    TrainingRun.objects.filter(pk=runs[0].pk).update(registered_at=clock() - timedelta(seconds=60))
    sweep(actor=ANA, clock=clock)
    assert kinds() == []


@pytest.mark.slow
def test_a_surplus_version_that_is_not_the_default_one_is_found_and_its_end_seen(
    cloud: LocalCloud, clock: Clock
) -> None:
    lineage, runs = a_lineage(cloud, clock, versions=2)
    upload(cloud, lineage, **labels_for(lineage=lineage.uid, run=runs[0].uid))
    in_console(lineage, 2, "default")
    look(clock)
    assert kinds() == [SURPLUS]
    assert finding(SURPLUS).evidence["surplus_versions"] == ["3"]
    vertex.delete_model_version(name_of(lineage).at("3"))  # the person takes it back
    look(clock)
    assert kinds() == []
    upload(cloud, lineage, **labels_for(lineage=lineage.uid, run=runs[0].uid))
    in_console(lineage, 2, "default")
    look(clock)
    assert repair(SURPLUS, clock).status == OperationStatus.SUCCEEDED
    assert sorted(theirs(lineage)) == [1, 2]
    look(clock)
    assert kinds() == []


# ---- what a sweep reads --------------------------------------------------------------------------


@pytest.mark.slow
def test_only_what_changed_or_was_not_read_for_a_day_is_read(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineages = [a_lineage(cloud, clock, name=name)[0] for name in ("a", "b", "c")]
    cloud.models.seed("unmanaged", display_name="theirs")

    def reads(seconds: float = 600) -> int:
        before = cloud.effects.count(VERSIONS)
        clock.forward(seconds)
        sweep(actor=ANA, clock=clock)
        return cloud.effects.count(VERSIONS) - before

    monkeypatch.setattr(changed_versions, "AT_MOST", 2)
    assert [reads(), reads(), reads()] == [2, 1, 0], "the rest waits for the next sweep"
    in_console(lineages[1], 1, "seen")
    assert [reads(), reads()] == [1, 0]
    assert finding(ALIAS).registered_model == lineages[1], "not read again, but it stays"
    look(clock)
    assert finding(ALIAS).consecutive_sightings == 1
    assert [reads(timedelta(days=1).total_seconds()), reads(), reads()] == [2, 1, 0]
    assert MirroredModel.objects.get(model_id="unmanaged").versions is None


@pytest.mark.slow
def test_models_that_cannot_be_read_keep_their_findings_and_let_others_have_their_turn(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineages = [a_lineage(cloud, clock, name=name)[0] for name in ("a", "b")]
    for lineage in lineages:
        in_console(lineage, 1, "seen")
    look(clock)
    assert kinds() == [ALIAS, ALIAS]
    monkeypatch.setattr(changed_versions, "AT_MOST", 1)
    for lineage in lineages:
        in_console(lineage, 1, "-seen")
    cloud.faults.order(VERSIONS, "error", code="PERMISSION_DENIED")
    look(clock)
    assert kinds() == [ALIAS, ALIAS], "what could not be read says nothing"
    look(clock)
    look(clock)
    assert kinds() == []
