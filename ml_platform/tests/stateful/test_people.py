"""Each invariant about people and neighbours fires when it is broken once, and only then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from ml_platform.cloud import storage, vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.transport.channels import request_reason
from ml_platform.models import (
    Finding,
    Installation,
    Manifest,
    Operation,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.registry.manifest import FilesState
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.services.operations.worker import resume_operations
from ml_platform.services.ownership.labels import OWNER
from ml_platform.services.registration.register import register_run
from ml_platform.services.registry.lineages import lineage_of
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.boundaries import BrokenInvariant
from ml_platform.tests.services.between.harness import take_to
from ml_platform.tests.services.training_tools import CloudClock

from . import people, people_services, planes
from .by_hand import by_hand, rpc, see, write_object
from .courses import registered
from .invariants import Judge
from .mutants import seeded
from .neighbours import Neighbour, confirm, neighbour_works, restore_backup, take_backup
from .oracle import after_turn, verified_is_the_same, waited
from .play import Play
from .rest import come_to_rest
from .rules import strange_folder
from .scenes_installation import marked_by_another
from .swaps import swaps
from .world import BO, prefix_of, settle

if TYPE_CHECKING:
    from .world import World

pytestmark = pytest.mark.sqlite_only


@pytest.fixture
def play(world: World) -> Iterator[Play]:
    with Judge(world.cloud).sitting() as judge:
        yield Play(world, Random(1), judge)


def file_of(run: TrainingRun) -> str:
    return f"{prefix_of(run)}pushed_model/1/saved_model.pb"


def test_what_people_made_is_watched_after_each_turn(play: Play) -> None:
    registered(play.world)
    people.copy_model(play)
    people_services.share_folder(play)
    strange_folder(play)
    assert len(play.theirs) == 4
    assert after_turn(play) == []
    play.world.vanish("copy-0")
    write_object("runs/2/pushed_model/1/saved_model.pb", b"other")
    assert after_turn(play) == [
        "I10 theirs is theirs: model copy-0@1 was deleted",
        "I10 theirs is theirs: object runs/2/pushed_model/1/saved_model.pb was changed",
    ]


def test_a_folder_that_only_an_older_revision_with_traffic_reads_is_used(play: Play) -> None:
    run = play.world.a_lineage()[0]
    with patch.object(play.dice, "random", lambda: 0.0):
        people_services.share_folder(play)
    readers = [key for key in planes.services(play.world.cloud) if key.startswith("reader-")]
    [env] = planes.services(play.world.cloud)[readers[0]].template.containers
    assert not env.env
    assert not env.args
    assert planes.users_of(file_of(run), planes.pointers(play.world.cloud))[1:] == readers
    operation = Operation.objects.create(kind="delete", lease_until=None, actor_label="bo")
    generation = next(planes.objects(play.world.cloud, file_of(run)))[1]
    with request_reason(f"operation {operation.pk}"):
        storage.delete_objects(planes.BUCKET, [(file_of(run), generation)])
    assert [wrong[:3] for wrong in play.judge.broken if readers[0] in wrong] == ["S13"]


def test_a_deletion_of_a_relabelled_version_is_refused_and_one_by_us_would_be_seen(
    play: Play,
) -> None:
    run = registered(play.world)
    with patch.object(play.dice, "choice", lambda found: found[0]):
        people.relabel(play)
    lineage = RegisteredModel.objects.get()
    operation = delete_versions(lineage=lineage, runs=[run], actor=BO, now=play.world.now())
    settle(play.world)
    operation.refresh_from_db()
    assert operation.error_code == "foreign_version"
    assert play.judge.broken == []
    with request_reason(f"operation {operation.pk}"):
        vertex.delete_model(ModelName.parse(run.vertex_model_resource_name))
    assert "S14" in {wrong[:3] for wrong in play.judge.broken}


@pytest.mark.parametrize("late", [False, True])
def test_an_upload_beside_labels_that_were_replaced_is_seen_unless_nobody_could_know(
    play: Play, late: bool
) -> None:
    registered(play.world)
    operation = register_run(run=play.world.a_run(), actor=BO, now=play.world.now())
    with (
        patch("ml_platform.services.registration.upload.require_ours"),
        patch.object(play.dice, "choice", lambda found: found[0]),
    ):
        if not late:
            people.relabel(play)
        take_to("upload", operation, CloudClock(play.world.cloud, play.world.now()))
        if late:
            people.relabel(play)
        settle(play.world)
    operation.refresh_from_db()
    assert operation.status == "succeeded"
    assert {wrong[:3] for wrong in play.judge.broken} == (set() if late else {"S14"})


def test_a_field_that_a_person_set_on_a_service_is_watched(play: Play) -> None:
    run = registered(play.world)
    deploy_run(run=run, actor=BO, now=play.world.now())
    settle(play.world)
    [key] = people_services.our_services(play)
    for _ in range(12):
        people_services.edit_service(play)
    assert {field for _, _, field in play.fields} == {
        "variable", "description", "label", "annotation",
    }  # fmt: skip
    assert after_turn(play) == []
    with by_hand(play):
        service = see(key)
        service.description = ""
        rpc("Services", "update_service", service=service)
    assert [wrong[:3] for wrong in after_turn(play)] == ["I16"]


@pytest.mark.parametrize("way", ["overwrite", "truncate", "delete", "add", "swap"])
def test_each_change_of_files_is_found_by_the_next_sweep(play: Play, way: str) -> None:
    run = play.world.a_run()
    play.world.cloud.storage.write(planes.BUCKET, f"{prefix_of(run)}{people.SECOND_FILE}", b"index")
    register_run(run=run, actor=BO, now=play.world.now())
    settle(play.world)
    play.world.forward(60)
    run.refresh_from_db()
    with patch.object(people, "WAYS", (way,)):
        people.edit_files(play)
    swept = sweep(actor=BO, clock=play.world.now)
    manifest = Manifest.objects.get()
    assert manifest.state in (FilesState.CHANGED, FilesState.INCOMPLETE, FilesState.MISSING)
    assert list(verified_is_the_same(play.world, swept)) == []
    Manifest.objects.update(state=FilesState.VERIFIED)
    assert {wrong[:3] for wrong in verified_is_the_same(play.world, swept)} == {"I17"}
    people.restore_files(play, [run])
    play.world.forward(60)
    sweep(actor=BO, clock=play.world.now)
    manifest.refresh_from_db()
    assert manifest.state == FilesState.VERIFIED


def test_a_deploy_of_other_files_than_the_manifests_is_seen(play: Play) -> None:
    run = registered(play.world)
    with patch(
        "ml_platform.services.deployment.same_files.difference_from_manifest", lambda *_: ""
    ):
        deploy_run(run=run, actor=BO, now=play.world.now())
        write_object(file_of(run), b"other")
        settle(play.world)
    assert [wrong[:3] for wrong in after_turn(play)] == ["I18"]


def test_what_waits_for_more_than_a_day_is_seen(play: Play) -> None:
    run = registered(play.world)
    began = play.world.now()
    assert waited(began, began + timedelta(hours=25)) == []
    assert waited(began, began + timedelta(hours=27)) != []
    deploy_run(run=run, actor=BO, now=began)
    [wrong] = waited(began, began)
    assert wrong.startswith("I19")
    resume_operations(clock=play.world.now)


def test_a_neighbour_has_its_own_rows_and_what_it_does_to_ours_is_seen(play: Play) -> None:
    run = registered(play.world)
    for _ in range(4):
        neighbour_works(play)
    assert TrainingRun.objects.get() == run
    assert {key.partition(" ")[0] for key in play.theirs} >= {"model", "object"}
    assert play.judge.broken == []
    assert after_turn(play) == []

    def intrude(self: Neighbour) -> None:
        vertex.delete_model(ModelName.parse(run.vertex_model_resource_name))

    with patch.object(Neighbour, "act", intrude):
        neighbour_works(play)
    assert [wrong[:3] for wrong in play.judge.broken] == ["S15"]


@pytest.mark.parametrize("which", [0, 1])
def test_another_installation_of_our_name_or_not_is_known_by_its_uid(
    play: Play, which: int
) -> None:
    registered(play.world)
    with patch.object(play.dice, "choice", lambda found: found[which]):
        play.world.neighbour = Neighbour(play)
        with patch.object(play.dice, "random", lambda: 0.0):
            neighbour_works(play)
    [version] = people.our_versions(play)
    [theirs] = [v for v in planes.versions(play.world.cloud) if v != version]
    assert (version.labels[OWNER] == theirs.labels[OWNER]) == bool(which)
    assert planes.is_theirs(theirs.labels)
    sweep(actor=BO, clock=play.world.now)
    assert not Finding.objects.filter(subject__contains=theirs.model_id).exists()
    play.world.vanish(theirs.model_id)
    assert [wrong[:3] for wrong in after_turn(play) if "model" in wrong] == ["I10"]


def test_a_restored_backup_deletes_nothing_until_a_person_confirms(play: Play) -> None:
    run, other = registered(play.world), registered(play.world)
    take_backup(play)
    ask = partial(delete_versions, lineage=lineage_of(run), actor=BO)
    ask(runs=[other], now=play.world.now())
    settle(play.world)
    restore_backup(play)
    refused = ask(runs=[run], now=play.world.now())
    settle(play.world)
    refused.refresh_from_db()
    assert refused.error_code == "installation_unconfirmed"
    assert len(planes.versions(play.world.cloud)) == 1
    confirm(play)
    settle(play.world)
    ask(runs=[run], now=play.world.now())
    settle(play.world)
    assert planes.versions(play.world.cloud) == []
    assert play.judge.broken == []


def test_a_deletion_by_a_restored_backup_would_be_seen(play: Play) -> None:
    run, other = registered(play.world), registered(play.world)
    take_backup(play)
    ask = partial(delete_versions, lineage=lineage_of(run), actor=BO)
    ask(runs=[other], now=play.world.now())
    settle(play.world)
    restore_backup(play)
    with patch("ml_platform.services.installation.marker.require_ours"):
        ask(runs=[run], now=play.world.now())
        settle(play.world)
    assert "S16" in {wrong[:3] for wrong in play.judge.broken}


def test_a_restored_backup_has_the_rows_of_then_and_google_goes_on(play: Play) -> None:
    run = registered(play.world)
    take_backup(play)
    registered(play.world)
    restore_backup(play)
    assert TrainingRun.objects.get() == run
    assert len(planes.versions(play.world.cloud)) == 2


def test_who_confirms_the_installation_brings_to_rest_what_a_copy_of_it_stopped(play: Play) -> None:
    run = registered(play.world)
    marked_by_another(play.world)
    delete_versions(
        lineage=RegisteredModel.objects.get(), runs=[run], actor=BO, now=play.world.now()
    )
    settle(play.world)
    assert Operation.objects.get(kind="delete").error_code == "installation_unconfirmed"
    come_to_rest(play)
    assert Installation.objects.get().stopped_at is None


def test_files_that_change_at_any_moment_of_a_deploy_get_no_traffic(world: World) -> None:
    assert swaps(world.cloud, tries=8)["succeeded"] > 0
    with seeded("compared-once"), pytest.raises(BrokenInvariant, match="serves with"):
        swaps(world.cloud, tries=40)
