"""What somebody may send that means nothing, and one of each thing that it may be sent to."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from django.test import Client

from ml_platform.models import Finding, Operation
from ml_platform.models.clock import database_now
from ml_platform.tests.factories import (
    DeployedEndpointFactory,
    ProjectFactory,
    RegisteredModelFactory,
    TrainingScheduleFactory,
    UserFactory,
    version_of,
)

from .api_tools import bearer

TEXTS = [
    "", "\x00", "a\x00b", "\ud7ff", "\uffff", "\U0010ffff", "abc", "a~1", "~", "~~", "-1", "0",
    "1~\x00", "1.5", "1e400", "NaN", "\u0661", str(1 << 31), str(1 << 63), "9" * 4000,
    "9" * 5000, "[" * 990,
    "{" * 990, "0001-01-01T00:00:00+14:00~1", "9999-12-31T23:59:59-14:00~1", "\u202e", "true",
    "0001-01-01T00:00:00+14:00", f"2026-01-01T00:00:00+00:00~{'9' * 5000}", "2026-01-01T00:00:00~1",
    "%", "%ff", "' OR 1=1 --", "x" * 10_000, "../../etc", "null",
]  # fmt: skip
"""What somebody may write where a word, a number or a cursor is asked for."""
RAW = ["%00", "%ff", "%ED%A0%80", "%C0%80", "%zz", "%", "+", "%u0041", ";", "&&&", "=%00"]
"""The same as bytes of an address."""


VALUES: list[Any] = [
    None, True, "", "\x00", "\ud800", "x", -1, 0, 1 << 31, 1 << 63, 10**4000, 1.5, float("inf"),
    [], [[]], {}, {"a": None}, "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00",
    1e308, "x" * 10_000, ["\x00"], {"\x00": 1}, {"\ud800": 1}, [1 << 63],
]  # fmt: skip


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def cursors(sort: str) -> list[str]:
    """Cursors that look like ours, and that no list gave."""
    times = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00"]
    values = [*times, "x", "\ud800", "\x00", "9" * 400, "1" * 20, ""]
    good = "2026-01-01T00:00:00+00:00"
    raw = [b"[" * 700, b"\xff\xfe", b"\x00", b"null"]
    return [
        *(cursor(sort, value, "1") for value in values),
        *(cursor(sort, good, pk) for pk in ("\ud800", "\x00", "9" * 300, "x", "")),
        *(cursor(*parts) for parts in ((), (sort,), (sort, 1, 2), (sort, None, None))),
        *(base64.urlsafe_b64encode(each).decode() for each in raw),
        *("[" * 990, "~", "\u20ac", "9" * 5000),
    ]


def nested(depth: int, field: str = "parameters") -> bytes:
    return b'{"%s": %s}' % (field.encode(), b"[" * depth + b"]" * depth)


@pytest.fixture
def admin() -> Any:
    """Somebody who may do everything."""
    return UserFactory.create(is_superuser=True, is_staff=True)


@pytest.fixture
def ids(settings: Any) -> dict[str, Any]:
    """Ids of one of each noun."""
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "https://ml.example.com/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["ringer@demo-project.iam.gserviceaccount.com"],
    }
    project = ProjectFactory.create()
    model = RegisteredModelFactory.create(project=project)
    run = version_of(model)
    now = database_now()
    finding = Finding.objects.create(
        kind="unmanaged", subject="projects/1/locations/europe-central2/models/7", title="x",
        repair="x", project=project, registered_model=model, first_seen_at=now, last_seen_at=now,
    )  # fmt: skip
    operation = Operation.objects.create(
        kind="deploy", status="running", project=project, actor_label="ana", origin="api"
    )
    return {
        "project": project.pk, "project_id": project.pk, "model_id": model.pk, "version": 1,
        "run_id": run.pk, "finding_id": finding.pk, "operation_id": operation.pk,
        "endpoint_id": DeployedEndpointFactory.create(registered_model=model, run=run).pk,
        "schedule_id": TrainingScheduleFactory.create(registered_model=model).pk,
    }  # fmt: skip


@pytest.fixture
def program(admin: Any) -> Client:
    """Her program; a failure is answered, not raised."""
    client = bearer(admin)
    client.raise_request_exception = False
    return client


@pytest.fixture
def browser(admin: Any) -> Client:
    """Her browser; the same."""
    client = Client(raise_request_exception=False)
    client.force_login(admin)
    return client
