"""A model's life, asked of the API of one release while workers of one or more carry it on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from typing import TYPE_CHECKING, Any

from ml_platform.tests.services.training_tools import TEMPLATE_URI

from .processes import Release

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

A_WHILE = 600
ROUNDS = 400
STEPS = (1, 2, 1, None, 3)
"""Steps of a worker's turn; None until the operation waits. Five and two have no common divisor, so
each worker has each of them. Were it always one step, a deletion would never end: what a step of
the newer release read, the next one of the old release would not use.
"""
LIVE = ("pending", "running")
PAGES = ("", "projects/{project}/training/", "models/{model}/", "registry-health/", "operations/")


@dataclass
class Life:
    """`web` answers; the workers take turns, each for one step of all that is due."""

    cloud: LocalCloud
    web: Release
    workers: list[Release]
    everyone: list[Release]
    """All processes: their clocks go together."""
    model_name: str
    keys: Iterator[int] = field(default_factory=count)

    def ask(self, method: str, path: str, **body: Any) -> Any:
        """The body of an answer, when workers have nothing left to do."""
        key = f"{self.model_name}-{next(self.keys)}"
        status, said = self.web.do("ask", method=method, path=f"/{path}", body=body, key=key)
        if status >= 300:
            raise AssertionError(f"{self.web.name}: {method} {path} {body}: {status} {said}")
        if method != "GET":
            self.settle()
            self.forward(A_WHILE)
        return said

    def post(self, path: str, **body: Any) -> Any:
        """A POST to the API."""
        return self.ask("POST", f"api/{path}", **body)

    def one(self, noun: str) -> Any:
        """The newest thing of that noun that belongs to this model."""
        items = self.ask("GET", f"api/{noun}/")["items"]
        named = [
            one
            for one in items
            if self.model_name in (one.get("model_name"), one.get("service_name"), one.get("name"))
        ]
        return named[0]

    def forward(self, seconds: float) -> None:
        """Let time pass, for the local cloud and for all processes."""
        self.cloud.clock.advance(seconds)
        for one in self.everyone:
            one.ahead += seconds

    def settle(self) -> None:
        """Let the workers take turns, for other numbers of steps, until no operation is left."""
        turns = zip(cycle(self.workers), cycle(STEPS), strict=False)
        for worker, steps in islice(turns, ROUNDS):
            if not worker.do("work", steps=steps):
                self.forward(20)
            live = [one for one in worker.do("operations") if one["status"] in LIVE]
            if not live:
                return
        raise AssertionError(f"still there: {live}")

    @property
    def _training(self) -> dict[str, str]:
        return {"model_name": self.model_name, "template_uri": TEMPLATE_URI}

    def train(self, project: int) -> None:
        """Two versions: a run, and that run again."""
        run = self.post(
            "training-runs/", project=project, model_name=self.model_name, template_uri=TEMPLATE_URI
        )["id"]
        self._trained(run)
        self._trained(self.post(f"training-runs/{run}/rerun/")["id"])

    def _trained(self, run: int) -> None:
        self.post(f"training-runs/{run}/submit/")
        self.workers[0].do("poll")
        self.settle()
        self.forward(A_WHILE)

    def serve(self) -> None:
        """Every verb of an endpoint; at the end it serves the first version."""
        model = self.one("models")
        path = f"models/{model['id']}"
        self.post(f"{path}/versions/1/aliases/", add=["canary"])
        self.post(f"{path}/deploy/", version=1, service_name=self.model_name)
        verb = f"deployed-endpoints/{self.one('deployed-endpoints')['id']}"
        self.post(f"{verb}/deploy/", run=model["latest_version"]["run"])
        self.post(f"{verb}/deploy/", rollback=True)
        self.post(f"{verb}/undeploy/")
        self.post(f"{verb}/deploy/", again=True)

    def schedule(self, project: int) -> None:
        """Every verb of a schedule."""
        self.post(
            "training/schedules/", project=project, **self._training, name=self.model_name,
            frequency="daily", first="2030-01-01T02:00:00Z",
        )  # fmt: skip
        schedule = self.one("training/schedules")["id"]
        for verb in ("pause", "resume", "cancel"):
            self.post(f"training/schedules/{schedule}/{verb}/")

    def look(self, project: int) -> None:
        """The pages."""
        model = self.one("models")["id"]
        for page in PAGES:
            self.ask("GET", page.format(project=project, model=model))

    def end(self) -> None:
        """Everything is deleted again."""
        endpoint, model = self.one("deployed-endpoints")["id"], self.one("models")["id"]
        self.post(f"models/{model}/delete/", versions=[2])
        self.post(f"deployed-endpoints/{endpoint}/undeploy/")
        self.post(f"deployed-endpoints/{endpoint}/delete/")
        self.post(f"models/{model}/delete/", versions="all")
