"""The one database of our tables: what a decision reads, writes and locks is in it.

A host may have replicas and a router that sends reads there. A replica lags, so a row that was just
written could be read as it was before, and a run would never end. Our rows are therefore read where
they are written, lists too: the registry tells what is committed (law 1). Sessions, tasks and
lists of users are the host's; their reads go where its router says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, TypeVar

from django.apps import apps
from django.db import connections, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.fields.related_descriptors import ForwardManyToOneDescriptor
from django.db.models.signals import class_prepared
from django.db.transaction import Atomic
from django.dispatch import receiver

Row = TypeVar("Row", bound=models.Model)
View = TypeVar("View", bound=Callable[..., Any])


def write_alias() -> str:
    """The alias of the database to which the host's routers write our tables."""
    return router.db_for_write(apps.get_model("ml_platform", "Operation"))


def write_connection() -> BaseDatabaseWrapper:
    """The connection of this thread to that database."""
    return connections[write_alias()]


def connection_of(alias: str) -> BaseDatabaseWrapper:
    """The connection of this thread to that database: for what Django does to one it names."""
    return connections[alias]


def atomic(alias: str = "") -> Atomic:
    """A transaction, or inside one a savepoint, of that database, or of the one named."""
    return transaction.atomic(using=alias or write_alias())


def on_commit(call: Callable[[], Any], *, robust: bool = False) -> None:
    """Call it after the commit of the open transaction of that database, or now if none is open."""
    transaction.on_commit(call, using=write_alias(), robust=robust)


def never_atomic(view: View) -> View:
    """Keep the host's ATOMIC_REQUESTS away from a view, whatever its databases are called."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


class PlatformQuerySet(models.QuerySet[Row]):
    """A queryset that reads from that database, unless `using` names another."""

    @property
    def db(self) -> str:
        """The alias that the next statement uses."""
        return self._db or write_alias()  # type: ignore[attr-defined]

    def iterator(self, chunk_size: int | None = None) -> Iterator[Row]:
        """The same rows; errors are Django's. Django lets the driver's own pass when it closes a
        server-side cursor (`cursor_iter` in django/db/models/sql/compiler.py)."""
        with connections[self.db].wrap_database_errors:
            yield from super().iterator(chunk_size)


class PlatformModel(models.Model):
    """The base of our models: each has such a queryset, its own or this one."""

    objects: ClassVar = PlatformQuerySet.as_manager()

    class Meta:
        abstract = True


class _HostsRow(ForwardManyToOneDescriptor):  # type: ignore[type-arg]
    """Reads the project or user of a row where the row is: a replica may not have it yet."""

    def get_queryset(self, **hints: Any) -> models.QuerySet[Any]:
        """Rows of the host's model."""
        return super().get_queryset(**hints).using(write_alias())


@receiver(class_prepared)
def _read_beside_ours(sender: type[models.Model], **_: object) -> None:
    """Our own models have their manager for that; the host's model has a manager of the host."""
    if issubclass(sender, PlatformModel):
        for field in sender._meta.local_fields:  # noqa: SLF001 - Django's documented name
            if field.many_to_one:
                setattr(sender, field.name, _HostsRow(field))


# Not in Meta, whose options are kept in migrations. `refresh_from_db` and foreign keys read by it.
PlatformModel._meta.base_manager_name = "objects"  # noqa: SLF001 - Django's documented name
