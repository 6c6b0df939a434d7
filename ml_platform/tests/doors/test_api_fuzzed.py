"""schemathesis over the whole contract: no failure of ours, no status that is not written down."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, cast

import pytest
import schemathesis
from django.core.wsgi import get_wsgi_application
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from ml_platform.api.http.auth import make_token
from ml_platform.models import Finding, Operation
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    TrainingScheduleFactory,
    UserFactory,
    version_of,
)
from ml_platform.tests.incident_rows import finished_sweep
from ml_platform.tests.services.training_tools import BUCKET, SPEC, TEMPLATE_URI

from .api_tools import contract, member_of

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

# The longer legs ask for more than the two minutes that any other test may take.
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(1200),
    pytest.mark.on_postgresql,
]

EXAMPLES = int(os.environ.get("ML_PLATFORM_FUZZ", "2"))
"""Requests for each operation, caller and mode; a long proof sets ML_PLATFORM_FUZZ=12 and more."""
RING = "ringer@demo-project.iam.gserviceaccount.com"
AUDIENCE = "https://ml.example.com/"


@pytest.fixture
def world(cloud: LocalCloud, settings: Any) -> dict[str, Any]:
    """One of each noun, by the name of its path parameter; the cloud has none of it."""
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": AUDIENCE,
        "WEBHOOK_SERVICE_ACCOUNTS": [RING],
        "WEBHOOK_CERTS_URL": f"{cloud.http_url}/oauth2/v1/certs",
    }
    settings.ALLOWED_HOSTS = ["*"]
    cloud.storage.write(BUCKET, TEMPLATE_URI.split("/", 3)[3], json.dumps(SPEC).encode())
    lineage = RegisteredModelFactory.create()
    run = version_of(lineage)
    TrainingRunFactory.create(project=lineage.project)
    now = database_now()
    finding = Finding.objects.create(
        kind="unmanaged",
        subject="projects/demo-project/locations/europe-central2/models/1",
        title="x",
        repair="x",
        project=lineage.project,
        first_sweep=finished_sweep(now),
        first_seen_at=now,
        last_seen_at=now,
    )
    operation = Operation.objects.create(
        kind="deploy", status="failed", project=lineage.project, actor_label="ana", finished_at=now
    )
    return {
        "project": lineage.project,
        "project_id": lineage.project.pk,
        "model_id": lineage.pk,
        "version": 1,
        "run_id": run.pk,
        "endpoint_id": DeployedEndpointFactory.create(registered_model=lineage, run=run).pk,
        "schedule_id": TrainingScheduleFactory.create(registered_model=lineage).pk,
        "finding_id": finding.pk,
        "operation_id": str(operation.pk),
    }


def token_of(user: Any) -> dict[str, str]:
    _, token = make_token(user=user, name="fuzz", days=1, now=database_now())
    return {"Authorization": f"Bearer {token}"}


def headers_of(who: str, world: dict[str, Any], cloud: LocalCloud) -> dict[str, str]:
    if who == "member":
        return token_of(member_of(world["project"]))
    if who == "viewer":
        return token_of(member_of(world["project"], Right.VIEW))
    if who == "stranger":
        return token_of(member_of(ProjectFactory.create()))
    if who == "administrator":
        return token_of(UserFactory.create(is_superuser=True, is_staff=True))
    if who == "scheduler":
        return {"Authorization": f"Bearer {cloud.identity.token(AUDIENCE, RING)}"}
    return {}


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize(
    "who", ["member", "viewer", "stranger", "administrator", "scheduler", "nobody"]
)
def test_whatever_is_asked_is_answered_as_the_contract_says(
    world: dict[str, Any], cloud: LocalCloud, who: str, mode: GenerationMode
):
    load_all_checks()
    # A schema does not know that a cursor must be one of ours, or that a project has a name twice.
    excluded = CHECKS.get_by_names(["positive_data_acceptance"])
    mended = CHECKS.get_by_names(["negative_data_rejection"])
    schema = schemathesis.openapi.from_dict(contract())
    schema.app = get_wsgi_application()
    headers = headers_of(who, world, cloud)
    ids = {name: value for name, value in world.items() if name != "project"}
    answered: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = cast(Ok[Any], found).ok()

        @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
        @hypothesis_settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any, real: bool) -> None:
            if real and case.path_parameters:
                for name in case.path_parameters:
                    case.path_parameters[name] = ids[name]
            answer = case.call(headers=headers)
            seen = answered.setdefault(case.operation.label, set())
            seen.add(answer.status_code)
            unfit = [*excluded, *(mended if real else ())]  # a real id may mend what was wrong
            case.validate_response(answer, excluded_checks=unfit, headers=headers)

        ask()
    assert len(answered) >= 43
    if who == "nobody":
        assert set().union(*answered.values()) <= {401, 404, 405, 413, 415, 422}
