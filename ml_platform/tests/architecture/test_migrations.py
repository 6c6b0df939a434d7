"""Migrations only grow: none that has landed is edited, and none takes from the release before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.db import migrations, models

from ml_platform import migrations as folder

FOLDER = Path(folder.__file__).parent
LANDED = {
    "0001_initial": "3552b4ed8f8a1da4",
    "0002_sweep_heartbeat": "ce9667122abff5c4",
    "0003_operation_workflow": "407d65b61ebb41c6",
    "0004_plain_names": "c8a7b9e48c48f398",
    "0005_event": "a0a8bb9b3816eb33",
    "0006_manifest": "95e298024cb2f1a8",
    "0007_installation": "963f9810d976c5c4",
    "0008_awaiting_removal": "e85a41872d65fdd3",
    "0009_foreign": "7889b68c2ee3ab52",
    "0010_daily_count": "22cfc6e38863ea1e",
    "0011_mirrored_job": "23afaa7e81c3fd06",
    "0012_approval": "c53120e9397c7f73",
    "0013_endpoint_traffic": "51af643e493d9c71",
    "0014_service_configuration": "9a3703f2348a4487",
    "0015_adoption": "6116dbea491a614c",
    "0016_alarm": "5688a92ef3c178cd",
    "0017_mirrored_endpoint": "a1067acd6560ac8f",
    "0018_host_keys": "229996d058b3fa64",
    "0019_invokers": "1187f6b610c9e4c3",
    "0020_projects": "2080bb568a539497",
    "0021_manifest_digest": "b3dd2701bb5d47f5",
    "0022_ready_revision": "867aca847bfcbb7f",
    "0023_counters": "bb5f7277584cde4f",
    "0024_sweep_of_differences": "ddcbc5e5cc3c3831",
    "0025_verification_count": "ea17ddfe6349e8b9",
    "0026_tags": "2c4a4a8562623d4f",
    "0027_words": "c899f200bcf42393",
    "0028_list_orders": "78c6ea94eefc6dbe",
}
"""The digest of each migration that a database may have had; see `digest`."""
GROW = (
    migrations.CreateModel,
    migrations.AddField,
    migrations.AddIndex,
    migrations.AddConstraint,
    migrations.AlterField,
    migrations.AlterModelOptions,
    migrations.AlterModelTable,
    migrations.RenameModel,
    migrations.RenameField,
    migrations.RunPython,
)
"""A renamed model or field keeps its table or column: `unit/test_renames.py`."""


def digest(file: Path) -> str:
    """The digest of a migration's file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def test_no_landed_migration_was_edited() -> None:
    """A database that has applied it would never get the change: write another one."""
    assert {name: digest(FOLDER / f"{name}.py") for name in LANDED} == LANDED


def taken(operation: Any) -> Iterator[str]:
    """What an operation takes from the release before, which goes on beside this one."""
    if not isinstance(operation, GROW):
        yield f"{type(operation).__name__} takes something away"
    if isinstance(operation, migrations.AddField):
        new = operation.field
        filled = new.null or new.db_default is not models.NOT_PROVIDED
        if not filled and not new.many_to_many:
            yield f"{operation.name} is neither null nor has a db_default: it inserts without it"
    if isinstance(operation, migrations.RunPython) and not operation.reversible:
        yield "the way back has no function"


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("0*.py")))
def test_it_takes_nothing(name: str) -> None:
    if name == "0001_initial":  # there was no release before
        return
    found = import_module(f"ml_platform.migrations.{name}").Migration.operations
    assert [word for operation in found for word in taken(operation)] == []


def test_what_takes_is_noticed() -> None:
    column = models.CharField(max_length=3, default="")
    for operation in (
        migrations.AddField("run", "word", column),
        migrations.RemoveField("run", "word"),
        migrations.RunPython(lambda apps, editor: None),
    ):
        assert list(taken(operation))
