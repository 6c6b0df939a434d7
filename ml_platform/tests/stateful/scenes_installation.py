"""Scenes for the kill harness: labels of a release before there were uids, another's marker."""

from __future__ import annotations

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import TrainingRun
from ml_platform.services.installation.confirm import confirm_installation
from ml_platform.services.ownership.labels import INSTALLATION
from ml_platform.tests.services.installations import MARKER

from . import planes
from .scenes_versions import versions
from .world import BO, Facts, Hands, World, settle


def labeled_without_uid(world: World) -> Facts:
    facts = versions(2)(world)
    for run in TrainingRun.objects.versions():
        name = ModelName.parse(run.vertex_model_resource_name).at(run.vertex_model_version)
        labels = dict(vertex.get_model(name).labels)
        labels.pop(INSTALLATION, None)
        vertex.update_model_labels(name, labels)
    world.forward(600)
    return facts


def marked_by_another(world: World) -> Facts:
    theirs = b'{"uid": "abc", "nonce": "1", "name": "shop"}'
    world.cloud.storage.write(planes.BUCKET, MARKER, theirs)
    return {}


def confirm(hands: Hands, facts: Facts) -> None:
    del facts
    confirm_installation(actor=BO, clock=hands.now, idempotency_key="confirm")
    settle(hands)
