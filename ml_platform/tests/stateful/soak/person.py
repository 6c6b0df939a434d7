"""A person in Google's console, behind our back: what they change, they change by Google's own
clients; labels, files and holds they put right again after a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import (
    BadRequest,
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
)
from requests import RequestException

from ml_platform.cloud.transport import channels
from ml_platform.localcloud.gcs.tables.store import crc32c_of
from ml_platform.services.ownership.labels import OWNER, owner
from ml_platform.tests.services.installations import MARKER
from ml_platform.tests.services.people import edit_service
from ml_platform.tests.stateful import planes

from .clients import NAMES
from .record import Record

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

REFUSED = (GoogleAPICallError, RequestException)
GONE = (NotFound, PreconditionFailed, BadRequest)
"""What they mean has gone or changed meanwhile."""
LAST_TRIES = 20
Undo = Callable[[], object]


@dataclass(eq=False)
class Person(threading.Thread):
    """They change something every few seconds."""

    cloud: LocalCloud
    dice: Random
    record: Record
    over: threading.Event
    theirs: dict[str, bytes] = field(default_factory=dict)
    """What belongs to them, as `play.Play.theirs`."""
    edited: dict[str, datetime] = field(default_factory=dict)
    """When they last wrote a file of ours, by its name."""
    bodies: dict[str, bytes] = field(default_factory=dict)
    """What was in those files, as `play.Play.bodies`."""
    _undone: list[tuple[float, Undo]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True, name="person")

    def run(self) -> None:
        """Meddle until it is over; then put right what is still wrong."""
        deeds = list(DEEDS)
        weights = [DEEDS[deed] for deed in deeds]
        while not self.over.wait(self.dice.uniform(0.5, 3.0)):
            self._put_right(time.monotonic())
            [deed] = self.dice.choices(deeds, weights)
            self._try(deed.__name__, partial(deed, self))
        for _ in range(LAST_TRIES):
            self._put_right(float("inf"))
            if not self._undone:
                return
            time.sleep(0.5)
        self.record.error(f"{len(self._undone)} changes of the person could not be put right")

    def later(self, undo: Undo) -> None:
        """Put something right in some seconds."""
        self._undone.append((time.monotonic() + self.dice.uniform(2.0, 15.0), undo))

    def _put_right(self, until: float) -> None:
        due = [undo for when, undo in self._undone if when <= until]
        self._undone = [one for one in self._undone if one[0] > until]
        self._undone += [
            (time.monotonic() + 1.0, undo) for undo in due if not self._try("put right", undo)
        ]

    def _try(self, what: str, do: Undo) -> bool:
        """Google may refuse them too; false when it may accept the same later."""
        try:
            if do() is not False:
                self.record.count(f"person: {what}")
        except REFUSED as error:
            self.record.count(f"person was refused: {type(error).__name__}")
            return isinstance(error, GONE)
        except Exception as error:  # noqa: BLE001 - a thread that dies would go unseen
            self.record.error(f"person, {what}: {error!r}")
        return True

    def version(self) -> Any:
        """A version with our label, None without one."""
        ours = [v for v in planes.versions(self.cloud) if v.labels.get(OWNER) == owner()]
        return self.dice.choice(ours) if ours else None

    def service(self) -> str:
        """The id of a service with our label, '' without one."""
        shown = planes.services(self.cloud).items()
        ours = sorted(key for key, s in shown if s.labels.get(OWNER) == owner())
        return self.dice.choice(ours) if ours else ""

    def blob(self) -> Any:
        """A file of a version of ours, None without one."""
        version = self.version()
        if version is None or not version.artifact_uri.startswith(f"gs://{planes.BUCKET}/"):
            return None
        prefix = version.artifact_uri.removeprefix(f"gs://{planes.BUCKET}/")
        files = list(_bucket().list_blobs(prefix=prefix))
        return self.dice.choice(files) if files else None

    def write(self, blob: Any, body: bytes, generation: int) -> None:
        """Put other bytes into a file that is still of that generation.

        It is noted also if the answer is lost, since it may have been done.
        """
        self.bodies[crc32c_of(body)] = body
        try:
            blob.upload_from_string(body, if_generation_match=generation)
        finally:
            self.edited[blob.name] = self.cloud.clock.now()


Deed = Callable[[Person], object]


def _bucket() -> Any:
    return channels.storage_client().bucket(planes.BUCKET)


def _models() -> Any:
    return channels.client("ModelService")


def _name(version: Any) -> str:
    return f"{channels.location_path()}/models/{version.model_id}@{version.version}"


def _relabel(version: Any, labels: Mapping[str, str]) -> None:
    model = {"name": _name(version), "labels": dict(labels)}
    _models().update_model(model=model, update_mask={"paths": ["labels"]})


def replace_labels(person: Person) -> object:
    """Their own labels in place of ours, as `Model.update(labels=...)` writes them."""
    version = person.version()
    if version is None:
        return False
    person.later(lambda: _relabel(version, version.labels))
    _relabel(version, {"team": "search"})
    return True


def delete_model(person: Person) -> object:
    version = person.version()
    if version is None:
        return False
    return _models().delete_model(name=_name(version).partition("@")[0])


def delete_version(person: Person) -> object:
    version = person.version()
    if version is None:
        return False
    return _models().delete_model_version(name=_name(version))


def upload_beside(person: Person) -> object:
    """A model of ours by name, not by labels, perhaps of our files."""
    version = person.version()
    model_id = f"theirs-{person.record.counts['person: upload_beside']}"
    model = {
        "display_name": person.dice.choice(NAMES),
        "artifact_uri": version.artifact_uri if version and person.dice.random() < 0.5 else "",
        "container_spec": {"image_uri": "theirs"},
    }
    request = {"parent": channels.location_path(), "model_id": model_id, "model": model}
    _models().upload_model(request=request).result(timeout=60)
    for made in planes.versions(person.cloud):
        if made.model_id == model_id:
            person.theirs[f"model {model_id}@{made.version}"] = made.content
    return True


def delete_service(person: Person) -> object:
    key = person.service()
    name = f"{channels.location_path()}/services/{key}"
    return channels.client("Services").delete_service(name=name) if key else False


def edit_a_service(person: Person) -> object:
    """A variable, a label and a description of theirs."""

    def change(service: Any) -> None:
        service.description = "Watched by the search team."
        service.labels["team"] = "search"
        service.template.revision = ""
        service.template.containers[0].env.append({"name": "THEIRS", "value": "1"})

    def once(service: Any) -> None:
        if "team" not in service.labels:
            change(service)

    key = person.service()
    if key:
        edit_service(key, once)
    return bool(key)


def pin_traffic(person: Person) -> object:
    """All requests of a service go to one of its revisions."""
    key = person.service()
    ready = planes.revisions(person.cloud, key) if key else []
    if not ready:
        return False
    chosen = person.dice.choice(ready)

    def pin(service: Any) -> None:
        target = {"type_": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": chosen}
        service.traffic = [{**target, "percent": 100}]

    edit_service(key, pin)
    return True


def overwrite_file(person: Person) -> object:
    """Other bytes for a while; nothing is put where nothing is any more."""
    blob = person.blob()
    if blob is None:
        return False
    was = blob.download_as_bytes()
    person.bodies[blob.crc32c] = was
    person.write(blob, b"other bytes", blob.generation)
    now = blob.generation
    person.later(lambda: person.write(blob, was, now))
    return True


def hold_file(person: Person) -> object:
    """It cannot be deleted for a while."""
    blob = person.blob()
    if blob is None:
        return False

    def hold(on: bool) -> None:
        blob.temporary_hold = on
        blob.patch()

    person.later(lambda: hold(False))
    hold(True)
    return True


def add_files(person: Person) -> object:
    """A folder of theirs beside ours."""
    name = f"runs/{person.record.counts['person: add_files']}/pushed_model/1/saved_model.pb"
    blob = _bucket().blob(name)
    blob.upload_from_string(b"theirs")
    person.theirs[f"object {name}"] = str(blob.generation).encode()
    return True


def take_marker(person: Person) -> object:
    """A copy of our database takes the marker: nothing of ours is deleted until somebody confirms
    this one, as a command of `trouble.COMMANDS` does after a while."""
    del person
    _bucket().blob(MARKER).upload_from_string(b'{"uid": "copy", "nonce": "1"}')
    return True


DEEDS: Mapping[Deed, int] = {
    replace_labels: 3,
    delete_model: 1,
    delete_version: 2,
    upload_beside: 2,
    delete_service: 2,
    edit_a_service: 3,
    pin_traffic: 1,
    overwrite_file: 3,
    hold_file: 3,
    add_files: 1,
    take_marker: 1,
}
"""What they do, and how often."""
