"""Turns of people who do not ask us: in Google's console or with gcloud, by Google's clients."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from ml_platform.cloud.transport import channels
from ml_platform.models import Manifest, Operation, TrainingRun
from ml_platform.models.states import OperationKind
from ml_platform.services.registry.labels import OPERATION, OWNER, RUN

from . import planes
from .by_hand import blob, by_hand, rpc, see, write_object
from .people_services import PUSHED, edit_and_deploy, edit_service, share_folder, unlabel_service
from .world import prefix_of

if TYPE_CHECKING:
    from .play import Play

SERVING = (OperationKind.DEPLOY, OperationKind.REDEPLOY)
SECOND_FILE = "pushed_model/1/variables/variables.index"
"""A saved model has several files, which can be swapped."""


def model_name(found: planes.Version) -> str:
    """The version's name at Google."""
    return f"{channels.location_path()}/models/{found.model_id}@{found.version}"


def our_versions(play: Play) -> list[planes.Version]:
    """The versions that have our label, without the copies of them."""
    found = planes.versions(play.world.cloud)
    copies = play.world.copies
    return [v for v in found if planes.is_ours(v.labels) and v.model_id not in copies]


# ---- models -------------------------------------------------------------------------------------


def copy_model(play: Play) -> None:
    """A version is copied into a model of its own, with its labels and the address of its files.

    Not while listings lag: the guard of files reads one, and cannot see a copy that it does not
    show yet (docs/reliability.md).
    """
    if play.lagging or not (found := our_versions(play)):
        return
    source, copy = play.dice.choice(found), f"copy-{len(play.world.copies)}"
    play.world.copies.add(copy)
    with by_hand(play):
        rpc(
            "ModelService",
            "copy_model",
            parent=channels.location_path(),
            source_model=model_name(source),
            model_id=copy,
        )
    if made := planes.content_of(play.world.cloud, f"model {copy}@1"):
        play.theirs[f"model {copy}@1"] = made


def relabel(play: Play) -> None:
    """Labels of a version are replaced, or some of them; the files and the name stay.

    Not while a deletion is on its way to it, or gives it the default alias: DeleteModel and
    MergeVersionAliases take no etag.
    """
    deletions = Operation.objects.filter(kind=OperationKind.DELETE)
    sent = {target for operation in deletions for target in operation.data.get("sent", ())}
    sent |= {operation.data.get("default_to", "") for operation in deletions}
    going = {name.rpartition("/")[2].partition("@")[0] for name in sent}
    if not (found := [v for v in our_versions(play) if v.model_id not in going]):
        return
    chosen = play.dice.choice(found)
    others: tuple[dict[str, str], ...] = (
        {"team": "search"},
        {**chosen.labels, OWNER: "another"},
        {key: value for key, value in chosen.labels.items() if key != RUN},
        {**chosen.labels, "team": "search"},
    )
    labels = play.dice.choice(others)
    with by_hand(play):
        _write_labels(chosen, labels)
        play.relabelled.setdefault(_which(chosen), dict(chosen.labels))


def _which(version: planes.Version) -> tuple[str, str, float, str]:
    """The version itself: a model that vanished and came back numbers its versions from 1 again."""
    return version.model_id, version.version, version.born, version.artifact_uri


def _write_labels(version: planes.Version, labels: Mapping[str, str]) -> None:
    rpc(
        "ModelService",
        "update_model",
        model={"name": model_name(version), "labels": dict(labels)},
        update_mask={"paths": ["labels"]},
    )


def move_default(play: Play) -> None:
    """The alias default goes to another version of the model."""
    ours = our_versions(play)
    many = [v for v in ours if "default" not in v.aliases]
    if many:
        with by_hand(play):
            rpc(
                "ModelService",
                "merge_version_aliases",
                name=model_name(play.dice.choice(many)),
                version_aliases=["default"],
            )


# ---- files --------------------------------------------------------------------------------------


def edit_files(play: Play) -> None:
    """A file of a pushed model is overwritten, truncated, deleted or added, or two are swapped."""
    edit_run(play, play.pick(TrainingRun.objects.exclude(gcs_artifacts_path="")))


def edit_what_is_deployed(play: Play) -> None:
    """The same, of a version that is being deployed: between two of its comparisons."""
    deploys = Operation.objects.live().filter(kind__in=SERVING)
    runs = [run for run in deploys.values_list("data__run", flat=True) if run]
    if runs:
        edit_run(play, play.pick(TrainingRun.objects.filter(pk__in=runs)))
        play.world.forward(1)  # an edit of the same instant may be before or after a comparison


def edit_run(play: Play, run: TrainingRun | None) -> None:
    cloud = play.world.cloud
    folder = f"{prefix_of(run)}{PUSHED}" if run else ""
    names = [name for name, _ in planes.objects(cloud, folder)] if folder else []
    if run is None or not names:
        return
    way, name = play.dice.choice(WAYS), play.dice.choice(names)
    play.tell(f"  {way} {name}")
    for item in cloud.storage.tables.each(planes.BUCKET, folder):
        play.bodies[item.crc32c] = cloud.storage.read(planes.BUCKET, item.name) or b""
    play.edited[run.pk] = play.world.now()
    play.count("files edited")
    with by_hand(play):
        _EDITS[way](play, name, names)


def _overwrite(play: Play, name: str, names: list[str]) -> None:
    del names
    write_object(name, f"edit{play.counts['files edited']}"[:5].encode())


def _truncate(play: Play, name: str, names: list[str]) -> None:
    del play, names
    write_object(name, b"")


def _delete(play: Play, name: str, names: list[str]) -> None:
    del play, names
    blob(name).delete(retry=None)


def _add(play: Play, name: str, names: list[str]) -> None:
    del play, names
    added = f"{name.rpartition('/')[0]}/added"
    write_object(added, b"added")


def _swap(play: Play, name: str, names: list[str]) -> None:
    other = names[names.index(name) - 1]
    bodies = [play.world.cloud.storage.read(planes.BUCKET, one) or b"" for one in (name, other)]
    write_object(name, bodies[1])
    write_object(other, bodies[0])


_EDITS: Mapping[str, Callable[[Play, str, list[str]], None]] = {
    "overwrite": _overwrite,
    "truncate": _truncate,
    "delete": _delete,
    "add": _add,
    "swap": _swap,
}


WAYS = tuple(_EDITS)


def hold(play: Play) -> None:
    """An object of a run may not be deleted or overwritten any more."""
    run = play.pick(TrainingRun.objects.exclude(gcs_artifacts_path=""))
    names = [name for name, _ in planes.objects(play.world.cloud, prefix_of(run))] if run else []
    if names:
        name = play.dice.choice(names)
        with by_hand(play):
            _set_hold(name, on=True)
            play.held.add(name)
            play.count("holds")


def release(play: Play) -> None:
    """A hold ends."""
    if play.held:
        name = play.dice.choice(sorted(play.held))
        with by_hand(play):
            _set_hold(name, on=False)
            play.held.discard(name)


def _set_hold(name: str, *, on: bool) -> None:
    held = blob(name)
    held.temporary_hold = on
    held.patch(retry=None)


# ---- and what they take back --------------------------------------------------------------------


def take_back(play: Play) -> None:
    """Holds end, and some labels are as they were; the others are left to the platform's repair."""
    while play.held:
        release(play)
    put_labels_back(play, 0.5)


def put_labels_back(play: Play, chance: float = 1.0) -> None:
    """Labels are as they were, as the refusals advise; each with this chance."""
    there = {_which(v): v for v in planes.versions(play.world.cloud)}
    for key, labels in play.relabelled.items():
        if key in there and _lacks(there[key].labels, labels) and play.happens(chance):
            play.tell(f"  the labels of {key[0]}@{key[1]} are as they were")
            with by_hand(play):
                _write_labels(there[key], labels)
    for name, (uid, labels) in play.unlabelled.items():
        shown = planes.services(play.world.cloud).get(name)
        if shown is None or shown.uid != uid:
            continue
        if _lacks(shown.labels, labels) and play.happens(chance):
            play.tell(f"  the labels of {name} are as they were")
            with by_hand(play):
                service = see(name)
                service.labels = {**service.labels, **labels}
                rpc("Services", "update_service", service=service)


def _lacks(shown: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels are missing; a repair writes itself into the label of the operation."""
    return any(shown.get(key) != labels[key] for key in labels.keys() - {OPERATION})


def restore_files(play: Play, runs: Collection[TrainingRun]) -> None:
    """The files of these versions are those of their manifests again."""
    for manifest in Manifest.objects.filter(run__in=runs).exclude(files=None).order_by("run"):
        folder = manifest.folder.removeprefix(f"gs://{planes.BUCKET}/")
        wanted = {f"{folder}{name}": crc32c for name, _, crc32c, _ in manifest.files or ()}
        there = play.world.cloud.storage.tables.each(planes.BUCKET, folder)
        held = {item.name: item.crc32c for item in there}
        play.tell(f"  {folder} is restored")
        with by_hand(play):
            for name in sorted(held.keys() - wanted.keys()):
                blob(name).delete(retry=None)
            for name, crc32c in sorted(wanted.items()):
                if held.get(name) != crc32c:
                    write_object(name, play.bodies[crc32c])


PEOPLE: tuple[tuple[int, tuple[Callable[[Play], None], ...]], ...] = (
    (2, (edit_files, edit_what_is_deployed, relabel, copy_model, share_folder, edit_service, hold)),
    (2, (edit_and_deploy,)),
    (1, (release, move_default, unlabel_service)),
)
"""Weight -> turns."""
