"""Programs of two tenants: each asks the API for what its dice say, and holds the answers to it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import requests

from ml_platform.tests.services.training_tools import TEMPLATE_URI

from .record import Record

NAMES = ("chern", "ranker", "unblessed")
LONGEST = 45.0
"""Seconds until a client gives an answer up."""
TRIES = 40
EXPECTED = {"404", "409", "429", "502", "503"}
"""Answers that a client without a fault may get: what it means has changed, or Google is away."""
Json = dict[str, Any]


@dataclass(eq=False)
class Client(threading.Thread):
    """One program with a token of one tenant's."""

    site: str
    token: str
    project: int
    strangers: tuple[str, ...]
    """Paths of another tenant's things."""
    dice: Random
    record: Record
    over: threading.Event
    made: list[tuple[str, int]] = field(default_factory=list)
    """The noun and id of what it was told it made."""

    def __post_init__(self) -> None:
        super().__init__(daemon=True, name=f"client of {self.project}")
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers["Authorization"] = f"Bearer {self.token}"

    def run(self) -> None:
        """Ask for the lists once, then for what the dice say, until it is over."""
        self._act(read_lists)
        actions = list(ACTIONS)
        weights = [ACTIONS[action] for action in actions]
        while not self.over.wait(self.dice.uniform(0.05, 0.8)):
            [action] = self.dice.choices(actions, weights)
            self._act(action)

    def _act(self, action: Action) -> None:
        try:
            action(self)
        except Exception as error:  # noqa: BLE001 - a thread that dies would go unseen
            self.record.error(f"{self.name}: {action.__name__}: {error!r}")

    # ---- one request and its answer

    def get(self, path: str, label: str = "") -> Json:
        """The body of a GET; {} when it was refused."""
        return self._ask("GET", path, label or path.partition("?")[0])

    def post(self, noun: str, path: str = "", body: Json | None = None) -> Json:
        """The body of a POST to a path below a noun, sent again with its key until answered."""
        words = [word for word in path.split("/") if word.replace("-", "").isalpha()]
        label = "/".join([noun, *words])
        return self._ask("POST", f"{noun}/{path}", label, body, {"Idempotency-Key": self._key()})

    def _ask(
        self,
        verb: str,
        path: str,
        label: str,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        for _ in range(TRIES):
            begun = time.monotonic()
            try:
                answer = self._http.request(
                    verb, f"{self.site}api/{path}", json=body, headers=headers, timeout=LONGEST
                )
            except requests.RequestException as error:
                self.record.answer(f"{verb} {label}", "no answer")
                if not self.record.explains(begun, "web", "worker", "database"):
                    self.record.error(f"{verb} {path} got no answer: {type(error).__name__}")
                time.sleep(0.5)
                continue
            said = self._judged(f"{verb} {label}", path, answer, begun)
            if answer.status_code == 503 and said.get("type") == "urn:ml-platform:database_busy":
                time.sleep(0.5)
                continue
            return said if answer.ok else {}
        self.record.error(f"{verb} {path} was never answered")
        return {}

    def _judged(self, asked: str, path: str, answer: requests.Response, begun: float) -> Json:
        status = str(answer.status_code)
        said: Json = answer.json() if "json" in answer.headers.get("Content-Type", "") else {}
        code = str(said.get("type", "")).rpartition(":")[2] if not answer.ok else ""
        self.record.answer(asked, f"{status} {code}".strip())
        if answer.ok:
            return said
        fine = status in EXPECTED and bool(code and said.get("detail"))
        if code == "database_busy":
            fine = self.record.explains(begun, "database", "worker")
        if not fine:
            self.record.error(f"{asked} ({path}): {status} {answer.text[:300]}")
        return said

    def _key(self) -> str:
        return str(uuid.UUID(int=self.dice.getrandbits(128)))

    # ---- what there is

    def one(self, noun: str, query: str = "") -> Json:
        """One of the newest things of a noun, {} when there is none."""
        items = self.get(f"{noun}/?page_size=30{query}").get("items", [])
        chosen: Json = self.dice.choice(items) if items else {}
        return chosen

    def version(self) -> tuple[int, Json]:
        """A model's id and one of its versions."""
        model = self.one("models")
        if not model:
            return 0, {}
        return model["id"], self.one(f"models/{model['id']}/versions")


Action = Callable[[Client], object]


def train(client: Client) -> None:
    body = {
        "project": client.project,
        "model_name": client.dice.choice(NAMES),
        "model_type": "retrieval",
        "template_uri": TEMPLATE_URI,
    }
    if run := client.post("training-runs", body=body):
        client.made.append(("run", run["id"]))
        client.post("training-runs", f"{run['id']}/submit/")


def register(client: Client) -> None:
    if run := client.one("training-runs", "&status=completed"):
        client.post("training-runs", f"{run['id']}/register/", {})


def cancel_run(client: Client) -> None:
    if run := client.one("training-runs", "&status=running"):
        client.post("training-runs", f"{run['id']}/cancel/")


def deploy(client: Client) -> None:
    if model := client.one("models"):
        body = {"version": "newest", "endpoint": "default"}
        client.post("models", f"{model['id']}/deploy/", body)


def deploy_beside(client: Client) -> None:
    model, version = client.version()
    if version:
        name = f"p{client.project}-{client.dice.choice('abc')}"
        body = {"version": version["version"], "service_name": name}
        client.post("models", f"{model}/deploy/", body)


def redeploy(client: Client) -> None:
    if endpoint := client.one("deployed-endpoints"):
        body = client.dice.choice([{"again": True}, {"rollback": True}])
        client.post("deployed-endpoints", f"{endpoint['id']}/deploy/", body)


def undeploy(client: Client) -> None:
    if endpoint := client.one("deployed-endpoints", "&active=true"):
        client.post("deployed-endpoints", f"{endpoint['id']}/undeploy/", {})


def delete_endpoint(client: Client) -> None:
    if endpoint := client.one("deployed-endpoints", "&active=false"):
        client.post("deployed-endpoints", f"{endpoint['id']}/delete/", {})


def delete_version(client: Client) -> None:
    model, version = client.version()
    if version:
        _delete(client, model, [version["version"]])


def delete_model(client: Client) -> None:
    if model := client.one("models"):
        _delete(client, model["id"], "all")


def _delete(client: Client, model: int, versions: Any) -> None:
    """As the page does it: the plan first."""
    body = {"versions": versions}
    plan = client._ask(
        "POST", f"models/{model}/delete/?dry_run=true", "models/delete?dry_run", body
    )
    if plan and not plan["blocks"]:
        client.post("models", f"{model}/delete/", body)


def move_alias(client: Client) -> None:
    model, version = client.version()
    if version:
        alias = client.dice.choice(["default", "golden", "champion"])
        path = f"{model}/versions/{version['version']}/aliases/"
        client.post("models", path, {"add": [alias]})


def plan(client: Client) -> None:
    body = {
        "project": client.project,
        "name": f"plan {client.dice.randrange(1000)}",
        "model_name": client.dice.choice([*NAMES, "never"]),
        "model_type": "retrieval",
        "template_uri": TEMPLATE_URI,
        "frequency": "daily",
        "first": (datetime.now(UTC) + timedelta(days=6)).isoformat(),
    }
    client.post("training/schedules", body=body)


def turn_plan(client: Client) -> None:
    if schedule := client.one("training/schedules"):
        verb = client.dice.choice(["pause", "resume", "trigger", "trigger", "cancel"])
        client.post("training/schedules", f"{schedule['id']}/{verb}/")


def retry_or_cancel(client: Client) -> None:
    verb, status = client.dice.choice([("retry", "failed"), ("cancel", "running")])
    if operation := client.one("operations", f"&status={status}"):
        client.post("operations", f"{operation['id']}/{verb}/")


def repair(client: Client) -> None:
    found = [f for f in client.get("audit/").get("findings", []) if f.get("repair")]
    if found:
        chosen = client.dice.choice(found)
        client.post("audit", f"findings/{chosen['id']}/repair/", {"action": "repair"})


def read_lists(client: Client) -> None:
    for path in ("models/", "models/?verify=live", "training-runs/", "system/kpis/", "operations/"):
        client.get(path, path)


def read_strangers(client: Client) -> None:
    """What another tenant has is not there."""
    path = client.dice.choice(client.strangers)
    if client.get(path, "another tenant's"):
        client.record.error(f"{path} of another tenant was shown to project {client.project}")


ACTIONS: Mapping[Action, int] = {
    train: 8,
    register: 6,
    cancel_run: 1,
    deploy: 5,
    deploy_beside: 4,
    redeploy: 4,
    undeploy: 4,
    delete_endpoint: 1,
    delete_version: 5,
    delete_model: 1,
    move_alias: 3,
    plan: 1,
    turn_plan: 3,
    retry_or_cancel: 3,
    repair: 2,
    read_lists: 4,
    read_strangers: 2,
}
"""What a client does, and how often."""
