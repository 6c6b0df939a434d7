"""A key below the API's door: the same request is one operation, and no other is answered by it."""

from __future__ import annotations

import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from ml_platform import services
from ml_platform.models import Operation, TrainingRun
from ml_platform.services.cleanup.artifacts import clean_up_artifacts
from ml_platform.services.cleanup.orphans import clean_up_orphans
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.deployment.deploy import (
    deploy_run,
    redeploy_endpoint,
    rollback_endpoint,
)
from ml_platform.services.deployment.undeploy import undeploy_endpoint
from ml_platform.services.installation.confirm import confirm_installation
from ml_platform.services.metrics.service_metrics import collect_metrics
from ml_platform.services.operations.store import KeyReused
from ml_platform.services.registry.aliases import set_aliases
from ml_platform.services.scheduling.platform_jobs import set_up_job
from ml_platform.services.scheduling.schedules import create_schedule, create_schedule_from_run
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.sweeps.operation import check_registry, check_registry_here
from ml_platform.services.training.runs import create_run, rerun
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    version_of,
)

from .training_tools import ANA, BUCKET, SPEC, TEMPLATE_URI, CloudClock, settle

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "k"
Table = dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]]
"""Each verb that takes a key: what it is asked, and another value for each of the arguments."""
ELSEWHERE = {
    "open_operation": "the record itself: tests/services/test_engine.py",
    "answered_before": "the record itself: tests/services/test_engine.py",
    "trigger_schedule": "makes a run: tests/services/test_scheduling.py",
}
UNSAID = {
    "actor",
    "now",
    "clock",
    "reason",
    "write_line",
    "administers",
    "idempotency_key",
    "dry_run",
}
"""Who, when and why; not what is asked for."""


@pytest.fixture
def clock(cloud: LocalCloud, settings: Any) -> CloudClock:
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "http://127.0.0.1:9/ml/",
        "WEBHOOK_SERVICE_ACCOUNTS": ("ringer@demo-project.iam.gserviceaccount.com",),
    }
    return CloudClock(cloud)


@pytest.fixture
def table(cloud: LocalCloud, clock: CloudClock) -> Table:
    """The rows that the verbs need, with another of each."""
    model = RegisteredModelFactory.create()
    old, new = version_of(model), version_of(model)
    served: dict[str, Any] = {
        "registered_model": model, "run": new, "previous_run": old, "serving": True,
        "config": ServingConfig(cpu="1").to_dict(),
    }  # fmt: skip
    endpoint = DeployedEndpointFactory.create(**served)
    other = DeployedEndpointFactory.create(**served)
    project, another = ProjectFactory.create(), ProjectFactory.create()
    template = {"template_uri": TEMPLATE_URI, "parameters": {"epochs": 5}}
    failed, failed_too = (
        TrainingRunFactory.create(failed=True, project=project, model_name=name, **template)
        for name in ("chern", "ising")
    )
    small = ServingConfig(cpu="2")
    cloud.storage.write(BUCKET, "templates/other.json", json.dumps(SPEC).encode())
    training = {
        "project": project, "model_name": "chern", "model_type": "retrieval", **template,
    }  # fmt: skip
    otherwise = {
        "project": another, "model_name": "ising", "model_type": "ranking",
        "template_uri": f"gs://{BUCKET}/templates/other.json", "parameters": {"epochs": 6},
    }  # fmt: skip
    times = {
        "name": "nightly", "frequency": "daily", "first": clock() + timedelta(days=1),
        "time_zone": "UTC",
    }  # fmt: skip
    other_times = {
        "name": "weekly", "frequency": "weekly", "first": clock() + timedelta(days=2),
        "time_zone": "Europe/Berlin",
    }  # fmt: skip
    job = {"job_id": "a", "cron": "0 1 * * *", "webhook": "api/x/", "deadline": 60}
    other_job = {"job_id": "b", "cron": "0 2 * * *", "webhook": "api/y/", "deadline": 61}
    return {
        "deploy_run": (
            deploy_run,
            {"run": old, "endpoint": endpoint, "service_name": "", "config": None},
            {"run": new, "endpoint": other, "config": small},
        ),
        "redeploy_endpoint": (
            redeploy_endpoint,
            {"endpoint": endpoint, "run": old, "config": None},
            {"endpoint": other, "run": None, "config": small},
        ),
        "rollback_endpoint": (rollback_endpoint, {"endpoint": endpoint}, {"endpoint": other}),
        "undeploy_endpoint": (undeploy_endpoint, {"endpoint": endpoint}, {"endpoint": other}),
        "delete_versions": (
            delete_versions,
            {"lineage": _free(), "runs": TrainingRun.objects.filter(model_name="free")[:1]},
            {"lineage": model, "runs": TrainingRun.objects.filter(model_name="free")},
        ),
        "set_aliases": (
            set_aliases,
            {"run": old, "add": ["best"], "remove": ["worst"]},
            {"run": new, "add": ["other"], "remove": []},
        ),
        "create_schedule": (create_schedule, training | times, otherwise | other_times),
        "create_schedule_from_run": (
            create_schedule_from_run,
            {"run": failed, **times},
            {"run": failed_too, **other_times},
        ),
        "create_run": (
            create_run,
            {**training, "rerun_of": None},
            {**_without(otherwise, "project"), "rerun_of": failed},
        ),
        "rerun": (rerun, {"run": failed}, {"run": failed_too}),
        "confirm_installation": (confirm_installation, {}, {}),
        "check_registry": (check_registry, {}, {}),
        "check_registry_here": (check_registry_here, {}, {}),
        "collect_metrics": (collect_metrics, {}, {}),
        "clean_up_orphans": (clean_up_orphans, {"days": 7}, {"days": 8}),
        "clean_up_artifacts": (
            clean_up_artifacts,
            {"days": 7, "include_registered": False, "delete_strays": False},
            {"days": 8, "include_registered": True, "delete_strays": True},
        ),
        "set_up_job": (
            set_up_job, job | {"description": "x"}, other_job | {"description": "y"},
        ),
    }  # fmt: skip


def _free() -> Any:
    lineage = RegisteredModelFactory.create(model_name="free")
    version_of(lineage), version_of(lineage)
    return lineage


def _without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def verbs() -> Iterator[tuple[str, Any]]:
    """Every public function of `services` that takes a key."""
    for info in pkgutil.walk_packages(services.__path__, f"{services.__name__}."):
        for name, found in vars(import_module(info.name)).items():
            public = inspect.isfunction(found) and not name.startswith("_")
            if (
                public
                and found.__module__ == info.name
                and "idempotency_key" in inspect.signature(found).parameters
            ):
                yield name, found


VERBS = sorted({name for name, _ in verbs()} - ELSEWHERE.keys())


def ask(verb: Callable[..., Any], clock: CloudClock, **asked: Any) -> Any:
    """Ask a verb; what it answers is an operation, a run, or holds an operation."""
    takes = inspect.signature(verb).parameters
    about = {"now": clock()} if "now" in takes else {"clock": clock}
    answer = verb(actor=ANA, idempotency_key=KEY, **about, **asked)
    return getattr(answer, "operation", None) or answer


def test_every_verb_with_a_key_and_every_argument_of_it_is_in_the_table(table: Table):
    assert sorted(table) == VERBS
    for name, verb in verbs():
        if name in table:
            _, asked, _ = table[name]
            assert inspect.signature(verb).parameters.keys() - UNSAID == asked.keys(), name


@pytest.mark.parametrize("name", VERBS)
def test_the_same_key_and_request_is_one_operation_whatever_became_of_it(
    name: str, table: Table, clock: CloudClock
):
    verb, asked, _ = table[name]
    first = ask(verb, clock, **asked)
    counts = Operation.objects.count(), TrainingRun.objects.count()
    clock.forward(1)
    assert ask(verb, clock, **asked) == first
    settle(clock)
    assert ask(verb, clock, **asked) == first
    assert (Operation.objects.count(), TrainingRun.objects.count()) == counts


@pytest.mark.slow
@pytest.mark.parametrize("name", VERBS)
def test_any_other_argument_under_the_same_key_is_refused(
    name: str, table: Table, clock: CloudClock
):
    verb, asked, others = table[name]
    ask(verb, clock, **asked)
    settle(clock)
    kept = set(Operation.objects.exclude(status="failed").values_list("pk", flat=True))
    for argument, value in others.items():
        with pytest.raises(KeyReused):
            ask(verb, clock, **{**asked, argument: value})
    assert set(Operation.objects.exclude(status="failed").values_list("pk", flat=True)) == kept


def test_a_key_of_one_verb_is_not_answered_by_another(table: Table, clock: CloudClock):
    names = ["undeploy_endpoint", "rollback_endpoint", "redeploy_endpoint", "deploy_run"]
    first, *others = [table[name][:2] for name in names]
    ask(first[0], clock, **first[1])
    settle(clock)
    for verb, asked in others:
        with pytest.raises(KeyReused):
            ask(verb, clock, **asked)
