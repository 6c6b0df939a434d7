"""The world of a proof, on the database and the local cloud of the test run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from .ground import tuned

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

    from .kill import Zygote
    from .world import World


@pytest.fixture
def world(cloud: LocalCloud, settings: Any, transactional_db: None) -> Iterator[World]:
    """A world as new, and an empty cloud left behind."""
    from .world import World

    settings.ML_PLATFORM = tuned(cloud.grpc_target, cloud.http_url)
    made = World(cloud)
    made.reset()
    yield made
    cloud.core.operations.lro_seconds = 0.0
    cloud.pipelines.stage_seconds = 2.0
    cloud.reset()


@pytest.fixture(scope="session")
def zygote(local_cloud: LocalCloud, django_db_setup: None) -> Iterator[Zygote]:
    """A process that forks others; the imports it has done are most of what they would do."""
    from .kill import Zygote

    with closing(Zygote(local_cloud)) as started:
        yield started
