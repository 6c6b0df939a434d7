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
from django.core.management.sql import (  # noqa: E402
    emit_post_migrate_signal,
    emit_pre_migrate_signal,
)
from django.db import connection  # noqa: E402
from django.db.migrations import Migration  # noqa: E402
from django.db.migrations.loader import MigrationLoader  # noqa: E402
from django.db.models import CheckConstraint, Model, Q  # noqa: E402

from ml_platform.models import (  # noqa: E402
    DeployedEndpoint,
    Event,
    Operation,
    RegisteredModel,
    TrainingRun,
)
from ml_platform.models.counting.install import differences  # noqa: E402
from ml_platform.models.counting.rules import TABLES  # noqa: E402
from ml_platform.models.registry.model_count import count_by_serving  # noqa: E402
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
        "counted": _counted_through_migrations(),
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


def _counted_through_migrations() -> list[object]:
    """What the counters tell and how they differ from a recount: after the first release's rows
    were migrated, and after the host's own migrations have changed each table that triggers name,
    and its own."""
    told = [count_by_serving(), differences()]
    tables: list[type[Model]] = [*TABLES, Shop]
    for table in tables:
        plan = [(Migration("0002_more", Shop._meta.app_label), False)]
        emit_pre_migrate_signal(0, False, "default", plan=plan)
        with connection.schema_editor() as editor:
            more = CheckConstraint(condition=Q(pk__isnull=False), name=f"more_{table.__name__}")
            editor.add_constraint(table, more)
        emit_post_migrate_signal(0, False, "default", plan=plan)
        stopped = DeployedEndpoint.objects.filter(is_active=True).update(is_active=False)
        DeployedEndpoint.objects.filter(run__isnull=False).update(is_active=not stopped)
        told += [count_by_serving(), differences()]
    return [list(each.values()) for each in told]


def _said(command: str, *arguments: str, **options: object) -> str:
    said = io.StringIO()
    call_command(command, *arguments, stdout=said, **options)
    return said.getvalue()


if __name__ == "__main__":
    print(json.dumps(main()))  # noqa: T201 - a program
