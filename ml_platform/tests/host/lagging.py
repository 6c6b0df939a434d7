"""A model's whole life on a host whose replica lags, as JSON: what each answer says, and which
statements about our tables or the host's tenants reached the replica."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from typing import Any

from ml_platform.localcloud import LocalCloud

cloud = LocalCloud(project="demo-project", location="europe-central2").start()
os.environ["ML_PLATFORM_LOCAL_CLOUD"] = cloud.grpc_target
os.environ["ML_PLATFORM_LOCAL_CLOUD_HTTP"] = cloud.http_url

import django  # noqa: E402 - its settings name the cloud

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 - apps first
from django.core.management import call_command  # noqa: E402
from django.db import connections  # noqa: E402
from django.test import Client  # noqa: E402

from ml_platform.models import Finding, TrainingRun  # noqa: E402
from ml_platform.models.clock import database_now  # noqa: E402
from ml_platform.services.sweeps.sweep import sweep  # noqa: E402
from ml_platform.tests.host.models import Shop  # noqa: E402
from ml_platform.tests.services.training_tools import (  # noqa: E402
    ANA,
    TEMPLATE_URI,
    CloudClock,
    poll,
    settle,
)

A_WHILE = 600
OURS = ("ml_platform_", "_shop")
strays: list[str] = []
"""Statements of which nothing may depend: the replica has old rows."""


def main() -> dict[str, Any]:
    """Train, register, deploy, sweep, undeploy and delete; each answer after what it asks about."""
    call_command("migrate", database="primary", verbosity=0)
    _copy()
    tenant = Tenant(CloudClock(cloud, start=database_now()))
    _copy()
    with connections["replica"].execute_wrapper(_watch):
        return {
            **_trained(tenant),
            **_deployed(tenant),
            **_seen(tenant),
            **_ended(tenant),
            "strays": sorted(set(strays)),
        }


class Tenant:
    """A signed-in user; users and sessions are the host's, which reads them from its replica."""

    def __init__(self, clock: CloudClock) -> None:
        admin = get_user_model().objects.create_superuser("admin")
        self.clock = clock
        self.project = Shop.objects.create(title="shop", owner=admin).pk
        self.client = Client()
        self.client.force_login(admin)

    def get(self, path: str) -> Any:
        """What the API answers."""
        return self.client.get(f"/ml/api/{path}").json()

    def post(self, path: str, **body: Any) -> Any:
        """What the API answers; then workers go on until nothing is left to do, and time passes."""
        headers = {"Idempotency-Key": path}
        answer = self.client.post(f"/ml/api/{path}", body, "application/json", headers=headers)
        settle(self.clock)
        self.clock.forward(A_WHILE)
        return answer.json()

    def one(self, noun: str) -> Any:
        """The only thing of that noun."""
        [found] = self.get(f"{noun}/")["items"]
        return found


def _copy() -> None:
    """The replica has what the primary has now; it does not get what comes later."""
    primary, replica = (connections[alias].settings_dict for alias in ("primary", "replica"))
    vendor = connections["primary"].vendor
    connections.close_all()
    if vendor == "sqlite":
        shutil.copyfile(primary["NAME"], replica["NAME"])
        return
    import psycopg

    where = {"host": primary["HOST"], "user": primary["USER"]}
    with psycopg.connect(**where, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {replica['NAME']}")
        connection.execute(f"CREATE DATABASE {replica['NAME']} TEMPLATE {primary['NAME']}")


def _watch(execute: Callable[..., Any], sql: str, params: Any, many: Any, context: Any) -> Any:
    if any(name in sql for name in OURS):
        strays.append(sql)
    return execute(sql, params, many, context)


def _trained(tenant: Tenant) -> dict[str, Any]:
    body = {"project": tenant.project, "model_name": "chern", "template_uri": TEMPLATE_URI}
    run = tenant.post("training-runs/", **body)["id"]
    tenant.post(f"training-runs/{run}/submit/")
    poll(tenant.clock)
    settle(tenant.clock)
    late = get_user_model().objects.create_user("late")  # the replica has no such user
    TrainingRun.objects.filter(pk=run).update(created_by=late)
    counted = tenant.get("models/")["kpi"]["total"]
    tenant.clock.forward(A_WHILE)
    return {"run": tenant.one("training-runs")["status"], "registered": counted}


def _deployed(tenant: Tenant) -> dict[str, Any]:
    model = tenant.one("models")["id"]
    tenant.post(f"models/{model}/deploy/", version="newest", service_name="chern")
    return {"deployed": tenant.one("deployed-endpoints")["is_active"]}


def _seen(tenant: Tenant) -> dict[str, Any]:
    swept = sweep(actor=ANA, clock=tenant.clock)
    names = {"project": tenant.project, "model": tenant.one("models")["id"]}
    pages = {path: tenant.client.get(path.format(**names)).status_code for path in PAGES}
    open_findings = Finding.objects.using("primary").filter(status="open").count()
    return {"swept": [swept.status, open_findings], "pages": pages}


def _ended(tenant: Tenant) -> dict[str, Any]:
    endpoint, model = tenant.one("deployed-endpoints")["id"], tenant.one("models")["id"]
    tenant.post(f"deployed-endpoints/{endpoint}/undeploy/")
    served = tenant.one("deployed-endpoints")["is_active"]
    tenant.post(f"models/{model}/delete/", versions="all")
    operations = tenant.get("operations/?page_size=50")["items"]
    return {
        "undeployed": not served,
        "deleted": tenant.get("models/")["kpi"]["total"],
        "operations": sorted({(one["workflow"], one["status"]) for one in operations}),
    }


PAGES = (
    "/ml/",
    "/ml/projects/{project}/training/",
    "/ml/models/{model}/",
    "/ml/models/{model}/delete/",
    "/ml/registry-health/",
    "/ml/operations/",
)


if __name__ == "__main__":
    try:
        print(json.dumps(main()))  # noqa: T201 - a program
    finally:
        cloud.stop()
