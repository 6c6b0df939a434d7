"""What the counters are derived from, as SQL that is compiled from our querysets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, ExpressionWrapper, F, Model, QuerySet, Value
from django.db.models.functions import Coalesce

from ml_platform.models.endpoints.deployed_endpoint import DeployedEndpoint
from ml_platform.models.endpoints.serving_status import with_serving_status
from ml_platform.models.registry.listed_model import ListedModel
from ml_platform.models.registry.model_count import ModelCount
from ml_platform.models.registry.registered_model import REGISTERED, RegisteredModel
from ml_platform.models.registry.training_run import TrainingRun

TABLES: Sequence[type[Model]] = (
    RegisteredModel,
    TrainingRun,
    DeployedEndpoint,
    ListedModel,
    ModelCount,
)
"""Those that have triggers; the bodies of the triggers name no other table."""
COPIED: Mapping[str, Any] = {
    "model": F("pk"),
    "project": F("project"),
    "model_type": F("model_type"),
    "registered": ExpressionWrapper(REGISTERED, output_field=BooleanField()),
    "registry_state": F("registry_state"),
    "serving": F("serving_status"),
    "is_blessed": F("latest_run__is_blessed"),
    "approval": Coalesce("latest_run__approval", Value("")),
    "versions": F("total_versions"),
}
"""Each field of a `ListedModel`, and what of its model it is."""
PROPERTIES = ("project", "model_type", "registry_state", "serving", "is_blessed", "approval")
"""What the models of a `ModelCount` have in common."""
MODEL_FACTS = (
    "project",
    "model_type",
    "vertex_model_resource_name",
    "registry_state",
    "latest_run",
    "total_versions",
)
RUN_FACTS = ("registered_model", "version", "registration", "is_blessed", "approval")
ENDPOINT_FACTS = ("registered_model", "run", "is_active")
"""The columns of the other tables on which a `ListedModel` depends; of the status of a run it
depends only on whether it allows to deploy it."""


@dataclass(frozen=True)
class Rules:
    """The SQL for one connection. `differs` is its operator for values that may be NULL."""

    connection: BaseDatabaseWrapper
    differs: str

    def table(self, model: type[Model]) -> str:
        """The quoted name of the table."""
        return self.quote(model._meta.db_table)  # noqa: SLF001 - Django's documented name

    def quote(self, name: str) -> str:
        """The name, quoted."""
        return self.connection.ops.quote_name(name)

    def columns(self, model: type[Model], names: Sequence[str], of: str = "") -> list[str]:
        """The quoted columns of these fields, of an alias if there is one."""
        fields = [model._meta.get_field(name) for name in names]  # noqa: SLF001
        return [of + self.quote(str(field.column)) for field in fields]  # type: ignore[union-attr]

    def changed(self, model: type[Model], names: Sequence[str], old: str, new: str) -> str:
        """Whether one of these columns differs between two aliases."""
        before = ", ".join(self.columns(model, names, old))
        return f"({before}) {self.differs} ({', '.join(self.columns(model, names, new))})"

    def is_version(self, alias: str) -> str:
        """Whether a run is a version."""
        return self._condition(TrainingRun.objects.versions(), alias)

    def is_deployable(self, alias: str) -> str:
        """Whether a run is a version that may be deployed."""
        return self._condition(TrainingRun.objects.deployable(), alias)

    def run_changed(self, old: str, new: str) -> str:
        """Whether a change of a run may change a `ListedModel`."""
        facts = self.changed(TrainingRun, RUN_FACTS, old, new)
        deployable = f"{self.is_deployable(old)} {self.differs} {self.is_deployable(new)}"
        version = f"{self.is_version(old)} OR {self.is_version(new)}"
        return f"({version}) AND ({facts} OR {deployable})"

    def refresh(self, models: str = "IS NOT NULL") -> str:
        """Write the rows of the models whose id is so, or of all."""
        fields = list(COPIED)
        columns = self.columns(ListedModel, fields)
        values = self.columns(ListedModel, fields[1:])
        written = ", ".join(f"{column} = excluded.{column}" for column in values)
        listed = self.table(ListedModel)
        differs = self.changed(ListedModel, fields[1:], f"{listed}.", "excluded.")
        return (
            f"INSERT INTO {listed} ({', '.join(columns)}) {self.truth} "
            f"WHERE {self.table(RegisteredModel)}.{self.quote('id')} {models} "
            f"ON CONFLICT ({columns[0]}) DO UPDATE SET {written} WHERE {differs}"
        )

    def affected(self, run: str) -> str:
        """The ids of the models that depend on the run with that id."""
        [latest] = self.columns(RegisteredModel, ["latest_run"])
        [served, model] = self.columns(DeployedEndpoint, ["run", "registered_model"])
        return (
            f"SELECT {self.quote('id')} FROM {self.table(RegisteredModel)} WHERE {latest} = {run} "
            f"UNION ALL SELECT {model} FROM {self.table(DeployedEndpoint)} WHERE {served} = {run}"
        )

    def recount(self) -> list[str]:
        """Write both tables anew, as nobody else writes them."""
        listed, count = self.table(ListedModel), self.table(ModelCount)
        [model] = self.columns(ListedModel, ["model"])
        ids = f"SELECT {self.quote('id')} FROM {self.table(RegisteredModel)}"
        return [
            f"DELETE FROM {listed} WHERE {model} NOT IN ({ids})",
            self.refresh(),
            f"DELETE FROM {count}",
            f"INSERT INTO {count} ({', '.join(self.counted)}) {self.recounted}",
        ]

    @cached_property
    def counted(self) -> list[str]:
        """The columns of a `ModelCount`, in their order here."""
        return self.columns(ModelCount, [*PROPERTIES, "n", "versions"])

    @cached_property
    def recounted(self) -> str:
        """The query of what the counts should be."""
        shared = ", ".join(self.columns(ListedModel, PROPERTIES))
        [registered, versions] = self.columns(ListedModel, ["registered", "versions"])
        return (
            f"SELECT {shared}, COUNT(*), SUM({versions}) FROM {self.table(ListedModel)} "
            f"WHERE {registered} GROUP BY {shared}"
        )

    @cached_property
    def truth(self) -> str:
        """The query of what the rows of `ListedModel` should be; it has no WHERE of its own."""
        rows = with_serving_status(RegisteredModel.objects.all())
        return self._compiled(rows.order_by().values_list(*COPIED.values()))

    def _condition(self, rows: QuerySet[Any], alias: str) -> str:
        compiled = self._compiled(rows.order_by().values_list("pk"))
        _, _, condition = compiled.partition(" WHERE ")
        return f"({condition.replace(self.table(rows.model) + '.', alias)})"

    def _compiled(self, rows: QuerySet[Any]) -> str:
        compiler = rows.query.get_compiler(connection=self.connection)
        sql, values = compiler.as_sql()
        return str(sql) % tuple(self._literal(value) for value in values)

    def _literal(self, value: object) -> str:
        if isinstance(value, bool):
            return ("TRUE" if value else "FALSE") if self._has_booleans else str(int(value))
        if isinstance(value, int):
            return str(value)
        return "'{}'".format(str(value).replace("'", "''"))

    @property
    def _has_booleans(self) -> bool:
        return self.connection.vendor == "postgresql"
