"""Two turns in which our tables are not the only truth: another installation in the same Google
project, with a database of its own, and a backup of our database that somebody restores.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from django.conf import settings
from django.db import connection, connections
from django.test.utils import override_settings

from ml_platform.conf import get_settings
from ml_platform.errors import PlatformError
from ml_platform.models import DeployedEndpoint, Installation, Project, RegisteredModel, TrainingRun
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deployment.deploy import deploy_run
from ml_platform.services.deployment.undeploy import undeploy_endpoint
from ml_platform.services.installation.confirm import confirm_installation
from ml_platform.services.installation.identity import current
from ml_platform.services.installation.marker import NAME as MARKER_NAME
from ml_platform.services.ownership.labels import owner
from ml_platform.services.registration.register import register_run
from ml_platform.services.sweeps.sweep import sweep

from . import planes
from .world import BO, prefix_of, settle, wipe

if TYPE_CHECKING:
    from .play import Play

OTHER = "neighbour"
NAMES = ("chern", "theirs")


class Neighbour:
    """Another installation: its own rows and uid, the same Google project and bucket; sometimes our
    folder too, sometimes our INSTALLATION."""

    def __init__(self, play: Play) -> None:
        own = connections.create_connection("default")
        own.settings_dict = {**deepcopy(own.settings_dict), "NAME": ":memory:"}
        own.ensure_connection()
        connection.ensure_connection()
        connection.connection.backup(own.connection)
        self.play, self.database = play, own
        self.settings = {
            **settings.ML_PLATFORM,
            "INSTALLATION": play.dice.choice((OTHER, owner())),
            "ARTIFACTS_PREFIX": play.dice.choice((OTHER, get_settings().ARTIFACTS_PREFIX)),
        }
        with self.acting():
            wipe()
            current()
            self.project = Project.objects.create(pk=1, name="first")

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Inside, our code is the other installation's: its database, its settings, no bad luck."""
        play, ours = self.play, connections["default"]
        play.judge.neighbour_acts = True
        operations = play.world.cloud.core.operations
        connections["default"] = self.database
        try:
            with (
                override_settings(ML_PLATFORM=self.settings),
                patch.object(operations, "lro_seconds", 0.0),
                play.calm(),
            ):
                yield
        finally:
            connections["default"] = ours
            play.judge.neighbour_acts = False

    def act(self) -> None:
        """It registers, deploys, undeploys, deletes, cleans up or sweeps, and ends what it can."""
        play, dice = self.play, self.play.dice
        who: dict[str, Any] = {"actor": BO, "now": play.world.now()}
        clock = play.world.now
        run = play.pick(TrainingRun.objects.versions())
        endpoint = play.pick(DeployedEndpoint.objects.filter(is_active=True))
        if run is None or dice.random() < 0.4:
            run = play.world.a_run(dice.choice(NAMES), project=self.project)
            register_run(run=run, **who)
        elif endpoint and dice.random() < 0.3:
            undeploy_endpoint(endpoint=endpoint, **who)
        elif dice.random() < 0.4:
            deploy_run(run=run, **who)
        elif dice.random() < 0.5:
            lineage = RegisteredModel.objects.get(training_runs=run)
            delete_versions(lineage=lineage, runs=[run], **who)
        else:
            clean_up_artifacts(days=0, actor=BO, clock=clock, include_registered=True)
            sweep(actor=BO, clock=clock)
            if dice.random() < 0.3:
                confirm(play)
        settle(play.world)

    def belongings(self) -> dict[str, bytes]:
        """What is its own in the cloud, to compare it later."""
        cloud = self.play.world.cloud
        services, versions = planes.services(cloud), planes.versions(cloud)
        keys = [f"service {key}" for key, s in services.items() if planes.is_ours(s.labels)]
        keys += [f"model {v.model_id}@{v.version}" for v in versions if planes.is_ours(v.labels)]
        for run in TrainingRun.objects.all():
            keys += [f"object {name}" for name, _ in planes.objects(cloud, prefix_of(run))]
        return {key: planes.content_of(cloud, key) or b"" for key in keys}


def neighbour_works(play: Play) -> None:
    """The other installation does something; what is not its own stays as it is."""
    world = play.world
    if world.neighbour is None:
        world.neighbour = Neighbour(play)
    neighbour: Neighbour = world.neighbour
    before, seen = _everything(play), len(world.cloud.effects.mutations())
    with neighbour.acting():
        had = neighbour.belongings()
        try:
            neighbour.act()
        except PlatformError as refusal:
            play.tell(f"  refused: {refusal}")
        has = neighbour.belongings()
    after = _everything(play)
    # Its own operations take no time: what lands late was sent before, by somebody else.
    landed = [c for c in world.cloud.effects.mutations()[seen:] if c.outcome == "LANDED"]
    late = {call.resource.rpartition("/")[2].partition("@")[0] for call in landed}
    for key in before.keys() - had.keys():
        if after.get(key) != before[key] and key.split()[1].partition("@")[0] not in late:
            play.judge.broken.append(f"S15 a neighbour changes only its own: {key}")
    for key in had:
        play.theirs.pop(key, None)
    play.theirs.update(has)


def _everything(play: Play) -> dict[str, bytes | None]:
    cloud = play.world.cloud
    keys = [f"model {v.model_id}@{v.version}" for v in planes.versions(cloud)]
    keys += [f"service {key}" for key in planes.services(cloud)]
    names = [name for name, _ in planes.objects(cloud)]
    keys += [f"object {name}" for name in names if not name.endswith(MARKER_NAME)]
    return {key: planes.content_of(cloud, key) for key in keys}


# ---- backups ------------------------------------------------------------------------------------


def take_backup(play: Play) -> None:
    """Somebody copies our database."""
    connection.ensure_connection()
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    connection.connection.backup(copy)
    play.world.backup = copy


def restore_backup(play: Play) -> None:
    """The rows go back to the last copy; Google does not."""
    if play.world.backup is None:
        return
    connection.ensure_connection()
    play.world.backup.backup(connection.connection)
    play.judge.forget()
    play.made = [(m, pk) for m, pk in play.made if m._default_manager.filter(pk=pk).exists()]  # type: ignore[attr-defined]
    held = TrainingRun.objects.filter(pk__in=play.edited).values_list("pk", flat=True)
    play.edited = {pk: play.edited[pk] for pk in held}
    play.count("backups restored")


# ---- and the person who says whose it is --------------------------------------------------------


def confirm(play: Play) -> None:
    """An administrator confirms an installation that the marker has stopped."""
    if Installation.objects.exclude(stopped_reason="").exists():
        confirm_installation(actor=BO, clock=play.world.now)
        play.count("confirmations")


NEIGHBOURS = ((1, (neighbour_works,)),)
BACKUPS = ((1, (take_backup, restore_backup, confirm)),)
