"""The counters of the database: whatever is written, they are what a recount would find."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.db import connection, transaction

from ml_platform.models import (
    DeployedEndpoint,
    ModelCount,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.counting.install import differences, fold
from ml_platform.models.endpoints.serving_status import serving_status, with_serves_newest
from ml_platform.models.registry.model_count import count_by_serving, count_models
from ml_platform.models.states import (
    Approval,
    ModelType,
    Registration,
    RegistryState,
    RunStatus,
)
from ml_platform.tests.factories import (
    LONG_AGO,
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    version_of,
)

pytestmark = pytest.mark.django_db
RIGHT = {"models": 0, "counts": 0}


def by_hand() -> Counter[tuple[Any, ...]]:
    """What is counted, row by row and without the triggers' SQL."""
    served: dict[int, list[bool]] = {}
    for endpoint in with_serves_newest(DeployedEndpoint.objects.filter(is_active=True)):
        served.setdefault(endpoint.registered_model_id, []).append(endpoint.serves_newest)
    return Counter(
        (
            row.project_id,
            row.model_type,
            row.registry_state,
            serving_status(served.get(row.pk, ())).value,
            row.latest_run.is_blessed,
            row.latest_run.approval,
        )
        for row in RegisteredModel.objects.registered().select_related("latest_run")
        if row.latest_run
    )


def counted() -> Counter[tuple[Any, ...]]:
    """The sums of what the triggers have added."""
    found: Counter[tuple[Any, ...]] = Counter()
    properties = ("project", "model_type", "registry_state", "serving", "is_blessed", "approval")
    for *key, n in ModelCount.objects.values_list(*properties, "n"):
        found[tuple(key)] += n
    return +found


def change(chance: random.Random, models: list[RegisteredModel]) -> None:
    """Write one thing that counters depend on, or that they do not."""
    model = chance.choice(models)
    runs = TrainingRun.objects.filter(registered_model=model)
    versions = list(runs.versions())
    endpoints = DeployedEndpoint.objects.filter(registered_model=model)
    rows = RegisteredModel.objects.filter(pk=model.pk)
    if not versions or chance.random() < 0.2:
        model.refresh_from_db()
        version_of(model)
        return
    run = chance.choice(versions)
    chance.choice(
        [
            lambda: rows.update(registry_state=chance.choice(RegistryState.values)),
            lambda: rows.update(model_type=chance.choice(ModelType.values), description="x"),
            lambda: rows.update(project=chance.choice(models).project_id),
            lambda: DeployedEndpointFactory(run=run, registered_model=model, is_active=True),
            lambda: endpoints.update(is_active=chance.random() < 0.5, run=run),
            lambda: endpoints.update(registered_model=chance.choice(models)),
            lambda: endpoints.delete(),
            lambda: runs.filter(pk=run.pk).update(is_blessed=chance.choice([True, False, None])),
            lambda: runs.filter(pk=run.pk).update(
                approval=chance.choice([Approval.APPROVED, Approval.WITHDRAWN]),
                approval_by="ann",
                approval_reason="seen",
                approval_at=LONG_AGO,
            ),
            lambda: runs.filter(pk=run.pk).update(
                registration=chance.choice([Registration.REGISTERED, Registration.DELETING])
            ),
            lambda: runs.filter(pk=run.pk).update(status=chance.choice(RunStatus.values)),
            lambda: runs.filter(pk=run.pk).update(version=chance.randrange(1000, 10**6)),
            lambda: TrainingRunFactory(registered_model=model, project=model.project).save(),
            lambda: run.save(),
        ]
    )()


@pytest.mark.parametrize("seed", range(3))
def test_the_counters_are_what_a_recount_finds_after_each_change(seed: int) -> None:
    chance = random.Random(seed)
    projects = [ProjectFactory() for _ in range(2)]
    models = [RegisteredModelFactory(project=chance.choice(projects)) for _ in range(4)]
    for step in range(60):
        change(chance, models)
        assert differences() == RIGHT, step
        assert counted() == by_hand(), step
        if step % 20 == 19:
            fold()
            rows = ModelCount.objects.count()
            assert counted() == by_hand()
            assert rows == len(by_hand())


@pytest.mark.django_db(transaction=True)
def test_two_changes_of_one_model_at_one_time_are_both_counted() -> None:
    """Neither sees the other until it is committed: without a lock both would find it serving."""
    lineage = RegisteredModelFactory()
    run = version_of(lineage)
    first, second = (
        DeployedEndpointFactory(registered_model=lineage, run=run, serving=True) for _ in range(2)
    )
    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            DeployedEndpoint.objects.filter(pk=first.pk).update(is_active=False)
            waiting = threads.submit(apart, lambda: stop(second))
            with suppress(TimeoutError):
                waiting.result(timeout=0.3)
        waiting.result(timeout=60)
    assert count_by_serving() == {"total": 1, "deployed": 0, "outdated": 0, "idle": 1}
    assert differences() == RIGHT


def apart(work: Callable[[], object]) -> None:
    """Do it in another thread, which closes its connection."""
    try:
        work()
    finally:
        connection.close()


def stop(endpoint: DeployedEndpoint) -> None:
    with transaction.atomic():
        DeployedEndpoint.objects.filter(pk=endpoint.pk).update(is_active=False)


@pytest.mark.django_db(transaction=True)
def test_folding_loses_nothing_beside_writers_and_other_folds() -> None:
    """PostgreSQL's numbers of rows say nothing about which of them is committed first."""
    lineages = [RegisteredModelFactory() for _ in range(3)]
    for lineage in lineages:
        version_of(lineage)
    with ThreadPoolExecutor(2) as threads:
        with transaction.atomic():
            fold()
            RegisteredModel.objects.filter(pk=lineages[0].pk).update(registry_state="verified")
            others = [
                threads.submit(apart, fold),
                threads.submit(apart, lambda: version_of(lineages[1])),
            ]
            for other in others:
                with suppress(TimeoutError):
                    other.result(timeout=0.3)
        for other in others:
            other.result(timeout=60)
    fold()
    assert differences() == RIGHT
    assert (count_models(), count_models(registry_state="verified")) == (3, 1)
    assert count_models([lineages[2].project_id], serving="idle") == 1
    assert ModelCount.objects.count() == 3
