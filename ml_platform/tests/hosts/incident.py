"""The incident's platform as a host: an app with its tables, and the import of what they have."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import django
import requests
from django.core.serializers.json import DjangoJSONEncoder

from .checks import Visitor, equal, good
from .host import Kind

if TYPE_CHECKING:
    from ml_platform.tests.incident_platform import Past

_SETTINGS = """
INSTALLED_APPS += ["training"]
ML_PLATFORM |= {"BUCKET": "demo-artifacts"}
"""
_CLOUD = """
import json
from pathlib import Path

from ml_platform.cloud import cloud_run, scheduler, storage
from ml_platform.cloud.types import JobSpec, ServiceSpec

past = json.loads(Path("past.json").read_text())
for name, text in past["files"].items():
    storage.write_text("demo-artifacts", name, text)
for name, spec in past["services"].items():
    cloud_run.create_service(name, ServiceSpec(**spec))
scheduler.create_job(JobSpec(**past["job"]))
"""


def incident() -> Kind:
    """Its tables are the host's own, beside ours; its rows come with the check `import`."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ml_platform.demo.settings")
    django.setup()
    return Kind(
        name="incident",
        title="the incident's platform, its data imported",
        files={
            "training/__init__.py": "",
            "training/migrations/__init__.py": "",
            "training/models.py": _models(),
            "mysite/settings.py": _SETTINGS,
            "past.py": _CLOUD,
        },
        before="python manage.py makemigrations training",
        make_project="from ml_platform.models import Project; print(Project.objects.get().pk)",
        models=10,
        own={"import": check_import},
    )


def _models() -> str:
    from ml_platform.tests.host_tables import TABLES

    text = "from django.db import models\n"
    for table, fields in TABLES.items():
        text += f"\n\nclass {table.split('_')[-1]}(models.Model):\n"
        text += "    id = models.IntegerField(primary_key=True)\n"
        for name, field in fields.items():
            text += f"    {name} = models.{type(field).__name__}(null=True)\n"
        text += f'\n    class Meta:\n        db_table = "{table}"\n'
    return text


def check_import(visitor: Visitor) -> None:
    """The ten names come, as seven models with their history, metrics, endpoints, schedules."""
    past = _make_past(visitor)
    visitor.host.manage("import_platform", "--map", "map.toml", "--yes")
    visitor.token = visitor.host.manage("create_api_token", "ana").splitlines()[0]
    visitor.done(visitor.ask("POST", "audit/run/"))
    counts = visitor.ask("GET", "system/kpis/")["counts"]
    equal([counts["database"], counts["vertex"]], [7, 9])
    models = visitor.ask("GET", "models/")
    equal(models["pagination"]["total"], 7)
    [five] = [item for item in models["items"] if item["name"] == "chern_retriv_v5"]
    equal([five["versions"], five["latest_version"]["metrics"]], [5, {"recall_at_100": 0.35}])
    equal(visitor.ask("GET", "training-runs/")["pagination"]["total"], past.run)
    endpoints = visitor.ask("GET", "deployed-endpoints/")["items"]
    serving = sorted(one["model"]["name"] for one in endpoints if one["is_active"])
    equal([serving, len(endpoints)], [["chern_rank_v4", "chern_retriv_v5"], 3])
    schedules = visitor.ask("GET", "training/schedules/")["items"]
    equal(sorted(one["state"] for one in schedules), ["active", "cancelled", "completed"])


def _make_past(visitor: Visitor) -> Past:
    """Rows in the host's tables, a mapping for them, and models, files, services, a job."""
    from ml_platform.services.importing.mapping import READY
    from ml_platform.tests.incident_platform import JOB, Past
    from ml_platform.tests.services.training_tools import TEMPLATE_URI

    host = visitor.host
    state = good(requests.get(f"{host.cloud}/_localcloud/state", timeout=9), 200).json()
    past = Past(ana=1, project=state["project"], number=state["project_number"])
    rows = [
        {"model": f"training.{table.split('_')[-1]}", "pk": key, "fields": fields}
        for table, key, fields in past.rows
    ]
    left = {"files": past.files, "services": past.services, "job": JOB}
    mapping = (READY / "b2b_recs.toml").read_text()
    mapping = mapping.replace('database = "b2b_recs"', 'database = "default"')
    mapping = mapping.replace('default = ""', f'default = "{TEMPLATE_URI}"')
    (host.folder / "map.toml").write_text(mapping)
    _write(visitor, "rows.json", rows)
    _write(visitor, "past.json", left)
    host.manage("loaddata", "./rows.json")
    host.manage("shell", "-c", "import past")
    for model in past.models:
        answer = requests.post(f"{host.cloud}/_localcloud/seed/model", json=model, timeout=9)
        good(answer, 200)
    return past


def _write(visitor: Visitor, name: str, data: Any) -> None:
    (visitor.host.folder / name).write_text(json.dumps(data, cls=DjangoJSONEncoder))
