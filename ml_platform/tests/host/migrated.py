"""All migrations on an empty database of the host, and what they made, as JSON."""

from __future__ import annotations

import io
import json

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 - apps first
from django.core.management import call_command  # noqa: E402

from ml_platform.models import RegisteredModel  # noqa: E402
from ml_platform.tests.host.models import Shop  # noqa: E402


def main() -> dict[str, object]:
    """Migrate, look for changes, read the SQL, and keep a row that points at a shop."""
    call_command("migrate", verbosity=0)
    owner = get_user_model().objects.create_user("ann")
    shop = Shop.objects.create(title="anns-shop", owner=owner)
    RegisteredModel.objects.create(project_id=shop.pk, model_name="a-model")
    kept = RegisteredModel.objects.select_related("project").get(project=shop.pk)
    return {
        "changes": _said("makemigrations", check_changes=True, dry_run=True),
        "sql": _said("sqlmigrate", "ml_platform", "0001"),
        "kept": [type(kept.project.pk).__name__, kept.model_name],
    }


def _said(command: str, *arguments: str, **options: object) -> str:
    said = io.StringIO()
    call_command(command, *arguments, stdout=said, **options)
    return said.getvalue()


if __name__ == "__main__":
    print(json.dumps(main()))  # noqa: T201 - a program
