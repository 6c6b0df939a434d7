"""A sweep of many models: one list call for each page, nothing per model, memory of one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from ml_platform.models import Finding, MirroredModel, Sweep
from ml_platform.models.clock import database_now
from ml_platform.models.states import FindingStatus
from ml_platform.services.artifacts import manifest
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps import audit
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.memory import peak_of

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
ANA = Actor(label="ana", origin="command")


def seed(cloud: LocalCloud, start: int, end: int) -> None:
    for n in range(start, end):
        cloud.models.seed(str(10**9 + n), display_name=f"model-{n}")


def look() -> Sweep:
    return sweep(actor=ANA, clock=database_now)


@pytest.mark.any_database
@pytest.mark.django_db(transaction=True)  # each commit frees what its transaction held
@pytest.mark.timeout(300)  # memory is traced, which makes everything five times slower
@pytest.mark.slow
def test_three_thousand_models_cost_thirty_calls_and_the_memory_of_a_page(
    cloud: LocalCloud,
) -> None:
    cloud.storage.write("demo-artifacts", "runs/x", b"")
    seed(cloud, 0, 1000)
    look()  # so that imports and caches are not measured
    small = peak_of(look)
    seed(cloud, 1000, 3000)
    cloud.effects.reset()
    large = peak_of(look)
    assert cloud.effects.count("ModelService.ListModels") == 30
    assert cloud.effects.count() == 34
    assert MirroredModel.objects.count() == 3000
    assert Finding.objects.filter(status=FindingStatus.OPEN).count() == 3000
    if large >= 1.2 * small:
        # What other threads of this process hold at that moment is counted too, but not twice.
        large = peak_of(look)
    assert large < 1.2 * small, f"{small:,} bytes for 1,000 models, {large:,} for 3,000"


@pytest.mark.slow
def test_showing_many_rows_needs_the_memory_of_a_chunk(cloud: LocalCloud) -> None:
    def show() -> int:
        return sum(1 for _ in audit.vertex_rows(Sweep.objects.latest()))

    seed(cloud, 0, 1000)
    look()
    show()  # so that imports and caches are not measured
    small = peak_of(show)
    seed(cloud, 1000, 3000)
    look()
    assert show() == 3000
    assert peak_of(show) < 1.3 * small


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_the_number_of_statements_grows_with_chunks_and_not_with_rows(cloud: LocalCloud) -> None:
    seed(cloud, 0, 100)
    look()
    with CaptureQueriesContext(connection) as few:
        look()
    seed(cloud, 100, 300)
    look()
    with CaptureQueriesContext(connection) as many:
        look()
    assert len(many) - len(few) <= 2 * 5, "two more pages: the clock, a transaction, the rows"


@pytest.mark.on_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(300)
@pytest.mark.slow
def test_many_files_need_the_memory_of_a_page_and_of_the_lists_that_are_kept(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of a thousand files each, and one run with many folders."""
    monkeypatch.setattr(manifest, "KEPT", 500)

    def fill(start: int, end: int) -> None:
        with cloud.storage.tables.transaction():
            for n in range(start, end):
                folder = f"runs/{n % 2}/pushed_model/{n}"
                for file in range(1000):
                    cloud.storage.write("demo-artifacts", f"{folder}/assets/{file}", b"")
                cloud.storage.write("demo-artifacts", f"{folder}/saved_model.pb", b"")

    fill(0, 2)
    look()  # so that imports and caches are not measured
    small = peak_of(look)
    fill(2, 12)
    cloud.effects.reset()
    large = peak_of(look)
    assert cloud.effects.count("storage.objects.list") == 13
    assert large < 1.5 * small, f"{small:,} bytes for 2 folders, {large:,} for 12"
