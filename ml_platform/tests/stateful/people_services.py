"""Turns of people at services on Cloud Run: ours, and their own that read our files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.transport import channels
from ml_platform.models import TrainingRun
from ml_platform.services.ownership.labels import OWNER

from . import planes
from .by_hand import by_hand, rpc, see
from .world import PINNED

if TYPE_CHECKING:
    from .play import Play

PUSHED = "pushed_model/"
THEIR_ENV = "TEAM_FLAG"


def share_folder(play: Play) -> None:
    """Another service reads the files of a run: by a variable, an argument or an annotation, and
    sometimes only in an older revision that has the traffic."""
    runs = TrainingRun.objects.exclude(gcs_artifacts_path="").order_by("pk")
    strays = [key for key in play.theirs if key.startswith("object ")]
    folders = [*runs.values_list("gcs_artifacts_path", flat=True)]
    folders += [f"gs://{planes.BUCKET}/{'/'.join(key[7:].split('/')[:2])}/" for key in strays]
    if not folders:
        return
    key = f"reader-{len(play.theirs)}"
    address = f"{play.dice.choice(folders)}{PUSHED}1"
    path = address.removeprefix("gs://")
    container = play.dice.choice(
        [
            {"image": "theirs", "env": [{"name": "MODEL", "value": address}]},
            {"image": "theirs", "args": [f"--model=/gcs/{path}"]},
            {"image": "theirs", "args": [f"https://storage.googleapis.com/{path}/saved_model.pb"]},
        ]
    )
    with by_hand(play):
        parent = channels.location_path()
        service = {"template": {"containers": [container]}}
        rpc("Services", "create_service", parent=parent, service_id=key, service=service)
        if play.happens(0.3):
            _keep_on_first_revision(key)
    if made := planes.content_of(play.world.cloud, f"service {key}"):
        play.theirs[f"service {key}"] = made
        play.count("shared folders")


def _keep_on_first_revision(key: str) -> None:
    """The newest revision reads other files; all requests stay with the first one."""
    service = see(key)
    first = service.latest_ready_revision.rpartition("/")[2]
    service.traffic = [{"type_": PINNED, "revision": first, "percent": 100}]
    service.template.containers = [{"image": "theirs"}]
    service.template.revision = ""
    rpc("Services", "update_service", service=service)


def our_services(play: Play) -> list[str]:
    """The services with our labels."""
    shown = planes.services(play.world.cloud)
    return sorted(key for key, service in shown.items() if planes.is_ours(service.labels))


def edit_service(play: Play) -> None:
    """A field of a service that the platform does not set."""
    if not (found := our_services(play)):
        return
    key, field = play.dice.choice(found), play.dice.choice([*_FIELDS])
    value = f"theirs-{play.counts.get('services edited', 0)}"
    play.tell(f"  {field} of {key}")
    play.count("services edited")
    with by_hand(play):
        service = see(key)
        _FIELDS[field](service, value)
        rpc("Services", "update_service", service=service)
    shown = planes.services(play.world.cloud)[key]
    if planes.set_by_people(shown).get(field) == value:
        play.fields[key, shown.uid, field] = value


def edit_and_deploy(play: Play) -> None:
    """A person's "Edit & deploy new revision" of what the platform sets; its labels stay."""
    if not (found := our_services(play)):
        return
    key, field = play.dice.choice(found), play.dice.choice([*_OURS, "files", "port"])
    runs = TrainingRun.objects.exclude(gcs_artifacts_path="").order_by("pk")
    folders = [*runs.values_list("gcs_artifacts_path", flat=True), "gs://elsewhere/"]
    number = play.counts.get("revisions by hand", 0)
    play.tell(f"  {field} of {key}")
    play.count("revisions by hand")
    with by_hand(play):
        service = see(key)
        container = service.template.containers[0]
        if field == "files":
            address = f"{play.dice.choice(folders)}{PUSHED}1"
            kept = [env for env in container.env if env.name != ARTIFACT_ENV]
            container.env = [*kept, {"name": ARTIFACT_ENV, "value": address}]
        elif field == "port":
            container.ports = [{"container_port": 9000 + number % 2}]
        else:
            _OURS[field](service, number)
        rpc("Services", "update_service", service=service)


_OURS: Mapping[str, Callable[[Any, int], None]] = {
    "image": lambda service, n: setattr(service.template.containers[0], "image", f"by-hand:{n}"),
    "memory": lambda service, n: service.template.containers[0].resources.limits.update(
        {"memory": f"{3 + n % 2}Gi"}
    ),
    "instances": lambda service, n: setattr(
        service.template, "scaling", {"max_instance_count": 2 + n % 5}
    ),
}


def _add_variable(service: Any, value: str) -> None:
    kept = [env for env in service.template.containers[0].env if env.name != THEIR_ENV]
    service.template.containers[0].env = [*kept, {"name": THEIR_ENV, "value": value}]


def _describe(service: Any, value: str) -> None:
    service.description = value


def _label(service: Any, value: str) -> None:
    service.labels = {**service.labels, "team": value}


def _annotate(service: Any, value: str) -> None:
    service.annotations = {**service.annotations, "example.com/team": value}


_FIELDS: Mapping[str, Callable[[Any, str], None]] = {
    "variable": _add_variable,
    "description": _describe,
    "label": _label,
    "annotation": _annotate,
}


def unlabel_service(play: Play) -> None:
    """A service of ours loses our labels, or gets another owner's."""
    if not (found := our_services(play)):
        return
    key = play.dice.choice(found)
    shown = deepcopy(planes.services(play.world.cloud)[key])
    with by_hand(play):
        service = see(key)
        kept = {key: value for key, value in service.labels.items() if not key.startswith("mlp_")}
        service.labels = play.dice.choice([kept, {**service.labels, OWNER: "another"}])
        rpc("Services", "update_service", service=service)
        play.unlabelled.setdefault(key, (shown.uid, dict(shown.labels)))
