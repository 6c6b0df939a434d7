"""What a member reads is the same whether or not other tenants exist, to the last number."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.test import Client

from .api_tools import bearer, contract
from .tenants import Tenant, full_tenant

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
CLOCKS = re.compile(r'"(?:at|swept_at|vertex_read_at|now|read_at)": "[^"]*"')


@pytest.fixture
def mine() -> Tenant:
    return full_tenant("acorn")


def everything(client: Client, ids: dict[str, Any]) -> dict[str, str]:
    """Every answer to a GET of the API, without the times at which it was asked."""
    found = {}
    for path, methods in contract()["paths"].items():
        if "get" in methods:
            answer = client.get(path.format(**ids))
            body = json.dumps(answer.json(), sort_keys=True)
            found[path] = f"{answer.status_code} {CLOCKS.sub('', body)}"
    return found


@pytest.mark.slow
def test_no_answer_changes_when_another_tenant_comes(mine: Tenant):
    client = bearer(mine.member)
    before = everything(client, mine.ids)
    assert len(before) > 12
    full_tenant("zebra")
    after = everything(client, mine.ids)
    assert {path for path in before if before[path] != after[path]} == set()


@pytest.mark.slow
def test_whoever_belongs_to_both_reads_both(mine: Tenant):
    """The walk above would notice."""
    theirs = full_tenant("zebra")
    client = bearer(mine.member)
    before = everything(client, mine.ids)
    theirs.project.members.add(mine.member)
    after = everything(client, mine.ids)
    changed = {path for path in before if before[path] != after[path]}
    assert {
        "/api/system/kpis/", "/api/models/", "/api/deployed-endpoints/", "/api/training-runs/",
        "/api/training/schedules/", "/api/operations/", "/api/projects/", "/api/audit/findings/",
    } & contract()["paths"].keys() <= changed  # fmt: skip
