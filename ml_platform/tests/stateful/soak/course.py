"""The course of a soak: an installation that is long there, its trouble, its rest."""

from __future__ import annotations

import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from django.test.utils import override_settings

from ml_platform.models import (
    DeployedEndpoint,
    Operation,
    Project,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.states import Registration, RunStatus
from ml_platform.services import workflows as workflows
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.tests.boundaries import BrokenInvariant
from ml_platform.tests.doors.api_tools import member_of
from ml_platform.tests.factories import RegisteredModelFactory
from ml_platform.tests.postgres import postgres_log
from ml_platform.tests.stateful.oracle import SERVING
from ml_platform.tests.stateful.play import Play
from ml_platform.tests.stateful.rest import come_to_rest
from ml_platform.tests.stateful.world import BO, World, settle

from .clients import Client
from .installation import HOST, soaked
from .person import Person
from .processes import Processes
from .record import Record
from .trouble import COMMANDS, WEB, WORKERS, Site, Trouble
from .watch import Outputs, Queue, RestartedJudge, unexplained, was_told_in_a_statement

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

CLIENTS = 2
"""Programs of each tenant."""
DRAIN = 12.0
"""Seconds that the workers have for what is due, when nothing is disturbed any more."""
LAST_REQUEST = 60.0


def soak(cloud: LocalCloud, seconds: float, seed: int, defect: str = "") -> Record:
    """Run the whole course; what it met, errors included."""
    dice, record = Random(seed), Record()
    folder = Path(tempfile.mkdtemp(prefix="mlp-soak-"))
    port = _free_port()
    environment = {
        "ML_PLATFORM_LOCAL_CLOUD": cloud.grpc_target,
        "ML_PLATFORM_LOCAL_CLOUD_HTTP": cloud.http_url,
    }
    processes = Processes(folder, port, environment)
    try:
        settings = soaked(cloud.grpc_target, cloud.http_url, port)
        with override_settings(ML_PLATFORM=settings):
            world = _furnished(cloud)
            with RestartedJudge(cloud).sitting() as judge:
                assert isinstance(judge, RestartedJudge)
                processes.wait_until_ready()
                site = Site(processes, port, record, defect)
                trouble = Trouble(site, cloud, judge, dice, record)
                play = Play(world, dice, judge)
                course = Course(trouble, Outputs(folder), play)
                course.run(seconds)
                processes.close()
                course.rest()
    finally:
        processes.close()
        if record.errors:
            print(f"The outputs of the processes are in {folder}.", flush=True)
        else:
            shutil.rmtree(folder)
    return record


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _furnished(cloud: LocalCloud) -> World:
    """Two tenants with versions, endpoints, runs and orphans of long ago; then it is now."""
    world = World(cloud)
    world.reset()
    cloud.pipelines.stage_seconds = 0.4
    cloud.pipelines.outcome("not_blessed", display_name="unblessed")
    for project in (world.project, Project.objects.create(pk=2, name="second")):
        world.project = project
        runs = world.a_lineage(versions=3)
        deploy_run(run=runs[1], actor=BO, now=world.now())
        settle(world)
        for _ in range(3):
            # No cleanup takes them: they are of today, and wait to be registered.
            world.a_run("ranker", created_at=datetime.now(UTC), finished_at=datetime.now(UTC))
            world.a_run("unblessed", is_blessed=False, status=RunStatus.NOT_BLESSED)
        RegisteredModelFactory(project=project, model_name="never")
    world.project = Project.objects.get(pk=1)
    cloud.clock.set(datetime.now(UTC) - timedelta(seconds=1))
    cloud.clock.thaw()
    cloud.clock.set(datetime.now(UTC))
    return world


@dataclass
class Course:
    """What goes on at the same time, led by one thread."""

    trouble: Trouble
    outputs: Outputs
    play: Play
    queue: Queue = field(default_factory=Queue)
    _next: dict[str, float] = field(default_factory=dict)

    def run(self, seconds: float) -> None:
        """Everything at once for so many seconds, then only the workers for a few."""
        site, record = self.trouble.site, self.trouble.record
        for name in (WEB, *WORKERS):
            site.start(name)
        with self._people() as people:
            until = time.monotonic() + seconds
            due = 0.0
            while (now := time.monotonic()) < until:
                if now >= due:
                    self.trouble.turn()
                    due = time.monotonic() + self.trouble.dice.uniform(0.5, 3.0)
                self._beat()
            self.trouble.end_all()
            people.set()
        record.counts["seconds of trouble"] = round(seconds)
        until = time.monotonic() + DRAIN
        while time.monotonic() < until and Operation.objects.live().exists():
            self._beat()
        for name in (WEB, *WORKERS):
            site.processes.send(name, signal.SIGTERM)
            site.killed.add(name)
        self._wait_for_ends()
        self._read_outputs(whole=True)
        log = postgres_log()
        (self.outputs.folder / "postgresql.txt").write_text(log)
        record.errors += unexplained(log, Operation.objects.count())

    def rest(self) -> None:
        """Bring everything to rest, in this process, and check every invariant."""
        record, begun = self.trouble.record, time.monotonic()
        self._judge_no_deploy_of_what_went()
        try:
            come_to_rest(self.play)
        except BrokenInvariant as broken:
            record.errors += str(broken).split("; ")
        except Exception as error:  # noqa: BLE001 - whatever comes is told in the table
            record.error(f"it came to no rest: {type(error).__name__}: {error}")
        record.counts["seconds to rest"] = round(time.monotonic() - begun)

    def _judge_no_deploy_of_what_went(self) -> None:
        """Histories compare the files of a deploy when its turn ends; here they may have been
        deleted since."""
        there = TrainingRun.objects.filter(registration=Registration.REGISTERED)
        ended = Operation.objects.filter(kind__in=SERVING).values_list("pk", "data")
        kept = set(there.values_list("pk", flat=True))
        self.play.succeeded.update(pk for pk, data in ended if data.get("run") not in kept)

    @contextmanager
    def _people(self) -> Iterator[threading.Event]:
        """The clients and the person, until the event."""
        trouble, over = self.trouble, threading.Event()
        clients = list(_clients(trouble, over))
        person = Person(trouble.cloud, Random(trouble.dice.random()), trouble.record, over)
        for one in (*clients, person):
            one.start()
        try:
            yield over
        finally:
            over.set()
            for one in (*clients, person):
                one.join(LAST_REQUEST)
                if one.is_alive():
                    trouble.record.error(f"{one.name} does not end")
        self._remember(person)
        nouns = {"run": TrainingRun, "schedule": TrainingSchedule}
        self.play.made += [(nouns[noun], key) for one in clients for noun, key in one.made]

    def _remember(self, person: Person) -> None:
        """What the rest must know of the person's changes."""
        self.play.theirs.update(person.theirs)
        self.play.bodies.update(person.bodies)
        runs = {run.uid.hex: run.pk for run in TrainingRun.objects.all()}
        for name, when in sorted(person.edited.items(), key=itemgetter(1)):
            self.play.edited[runs[name.split("/")[1]]] = when

    def _beat(self) -> None:
        """What is done again and again: commands by the clock, and the watch."""
        trouble, now = self.trouble, time.monotonic()
        trouble.end_what_is_due(now)
        site, since = trouble.site, now - trouble.restarted
        site.look_after(site.processes.ended(), since)
        for name, words, pause in COMMANDS:
            if now >= self._next.get(name, 0.0) and not site.processes.lives(name):
                self._next[name] = now + pause
                site.processes.begin(name, "command", *words)
                trouble.record.count("commands")
        if now >= self._next.get("watch", 0.0):
            self._next["watch"] = now + 2.0
            self.play.judge.look()
            trouble.record.errors += self.queue.stuck()
            self._read_outputs()
        time.sleep(0.05)

    def _read_outputs(self, *, whole: bool = False) -> None:
        trouble = self.trouble
        was_away = whole or time.monotonic() - trouble.restarted < 15
        trouble.record.errors += self.outputs.tracebacks(database_was_away=was_away)

    def _wait_for_ends(self) -> None:
        processes = self.trouble.site.processes
        names = (WEB, *WORKERS, *(name for name, _, _ in COMMANDS))
        until = time.monotonic() + 30
        while any(map(processes.lives, names)) and time.monotonic() < until:
            time.sleep(0.05)
        for name, code in processes.ended():
            told = was_told_in_a_statement(self.outputs.folder / f"{name}.log")
            if name in (WEB, *WORKERS) and code and not (name in WORKERS and told):
                self.trouble.record.error(f"{name} ended with {code} on SIGTERM")


def _clients(trouble: Trouble, over: threading.Event) -> Iterator[Client]:
    from ml_platform.api.http.auth import make_token
    from ml_platform.models.clock import database_now

    projects = list(Project.objects.order_by("pk"))
    for project in projects:
        user = member_of(project, name=f"member-of-{project.pk}")
        _, token = make_token(user=user, name="soak", days=1, now=database_now())
        [other] = [one for one in projects if one != project]
        for _ in range(CLIENTS):
            yield Client(
                site=f"http://{HOST}:{trouble.site.port}/",
                token=token,
                project=project.pk,
                strangers=_paths_of(other),
                dice=Random(trouble.dice.random()),
                record=trouble.record,
                over=over,
            )


def _paths_of(project: Project) -> tuple[str, ...]:
    """Paths of a tenant's things that stay."""
    run = TrainingRun.objects.filter(project=project, registration=Registration.NONE).first()
    endpoint = DeployedEndpoint.objects.filter(project=project).first()
    operation = Operation.objects.filter(project=project).first()
    assert run
    assert endpoint
    assert operation
    return (
        f"training-runs/{run.pk}/",
        f"models/{endpoint.registered_model_id}/",
        f"deployed-endpoints/{endpoint.pk}/",
        f"operations/{operation.pk}/",
    )
