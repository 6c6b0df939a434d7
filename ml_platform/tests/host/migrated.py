"""From the first release's rows to today's tables, to nothing and back, as JSON.

All on an empty database of the host, whose keys and label are what its settings read.
"""

from __future__ import annotations

import io
import json

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 - apps first
from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.migrations.loader import MigrationLoader  # noqa: E402

from ml_platform.models import Event, Operation, RegisteredModel, TrainingRun  # noqa: E402
from ml_platform.tests.host.first_release import APP, FIRST, changed, seed, tables  # noqa: E402
from ml_platform.tests.host.models import Shop  # noqa: E402


def main() -> dict[str, object]:
    """Migrate with rows, then down and up again; look for changes, and read the SQL."""
    shop = _first_release()
    before = tables()
    call_command("migrate", verbosity=0)
    after = tables()
    told = {
        "empty": sorted(table for table, rows in before.items() if not rows),
        "changed": changed(before, after),
        "workflows": sorted(Operation.objects.values_list("kind", "workflow")),
        "events": list(Event.objects.order_by("seq").values_list("kind", "sent")),
        "refused": Event.objects.get(kind="operation_refused").after,
        "versions": [
            [str(run.project_id) == str(shop.pk), run.is_accepted, run.aliases]
            for run in TrainingRun.objects.versions()
        ],
        "undecided": TrainingRun.objects.filter(approval="", remark="").count(),
    }
    call_command("migrate", APP, "zero", verbosity=0)
    told["left"] = list(tables())
    call_command("migrate", verbosity=0)
    RegisteredModel.objects.create(project_id=shop.pk, model_name="a-model")
    kept = RegisteredModel.objects.select_related("project").get(project=shop.pk)
    return {
        **told,
        "changes": _said("makemigrations", check_changes=True, dry_run=True),
        "sql": _said("sqlmigrate", APP, "0001"),
        "kept": [type(kept.project.pk).__name__, kept.model_name],
    }


def _first_release() -> Shop:
    """The host with the first release, in use."""
    for label in sorted(MigrationLoader(None).migrated_apps - {APP}):
        call_command("migrate", label, verbosity=0)
    call_command("migrate", APP, FIRST, verbosity=0)
    owner = get_user_model().objects.create_user("ann")
    shop = Shop.objects.create(title="anns-shop", owner=owner)
    then = MigrationLoader(connection).project_state((APP, FIRST)).apps
    seed(then, project=shop.pk, user=owner.pk)
    return shop


def _said(command: str, *arguments: str, **options: object) -> str:
    said = io.StringIO()
    call_command(command, *arguments, stdout=said, **options)
    return said.getvalue()


if __name__ == "__main__":
    print(json.dumps(main()))  # noqa: T201 - a program
