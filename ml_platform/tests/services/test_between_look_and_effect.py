"""Every operation is stopped before its effects, and what it looked at changes meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.services.workflows import WORKFLOWS

from .between import cleanup, installation, models, repairs, services, training
from .between.harness import CASES, World
from .training_tools import CloudClock

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.any_database]
MODULES = (cleanup, installation, models, repairs, services, training)
RINGER = "ringer@demo-project.iam.gserviceaccount.com"


@pytest.fixture
def world(cloud: LocalCloud, settings: Any) -> World:
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "http://127.0.0.1:9/ml/",
        "WEBHOOK_SERVICE_ACCOUNTS": (RINGER,),
    }
    return World(cloud, CloudClock(cloud))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_what_changed_since_the_look_is_respected(name: str, world: World):
    CASES[name].play(world)


READS: dict[str, str] = {
    "wait": "asks how the upload is",
    "look_up": "looks for what an earlier try made",
}
"""Steps that go back to a look after trouble, and have no effect of their own."""


def test_each_step_with_an_effect_has_a_case():
    """A step that names the step which looks for its effect has one."""
    steps = {step.name for flow in WORKFLOWS.values() for step in flow.steps if step.probe}
    assert steps - READS.keys() - {case.step for case in CASES.values()} == set()
