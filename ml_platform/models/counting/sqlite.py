"""The triggers on SQLite, for each row: one transaction writes at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from ml_platform.models.endpoints.deployed_endpoint import DeployedEndpoint
from ml_platform.models.registry import kept_rows
from ml_platform.models.registry.listed_model import ListedModel
from ml_platform.models.registry.model_count import ModelCount
from ml_platform.models.registry.registered_model import RegisteredModel
from ml_platform.models.registry.training_run import TrainingRun

from .rules import ENDPOINT_FACTS, MODEL_FACTS, PROPERTIES, RUN_FACTS, Rules

DIFFERS = "IS NOT"


def triggers(rules: Rules) -> Mapping[str, str]:
    """The statement that creates each trigger, by its name."""
    return {
        name: f"CREATE TRIGGER {name} {text}"
        for part in (_on_models, _on_runs, _on_endpoints, _on_listed)
        for name, text in part(rules)
    } | kept_rows.bodies("sqlite")


def installed(connection: BaseDatabaseWrapper) -> Mapping[str, str]:
    """The same of the triggers that the database has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'mlp~_%' "
            "ESCAPE '~'"
        )
        return dict(cursor.fetchall())


def creating(rules: Rules) -> list[str]:
    """The statements that create the triggers."""
    return list(triggers(rules).values())


def folding(rules: Rules) -> list[str]:
    """The statements that replace counts by their sums. The first one begins to write, so that no
    count is added until both are committed; the ids of the sums are the highest."""
    count, id_ = rules.table(ModelCount), rules.quote("id")
    shared = ", ".join(rules.counted[: len(PROPERTIES)])
    [n, versions] = rules.counted[len(PROPERTIES) :]
    return [
        f"INSERT INTO {count} ({', '.join(rules.counted)}) "
        f"SELECT {shared}, SUM({n}), SUM({versions}) FROM {count} GROUP BY {shared} "
        f"HAVING SUM({n}) <> 0 OR SUM({versions}) <> 0",
        f"DELETE FROM {count} WHERE {id_} <= (SELECT MAX({id_}) FROM {count}) - changes()",
    ]


def dropping(connection: BaseDatabaseWrapper) -> list[str]:
    """The statements that remove what is installed."""
    return [f"DROP TRIGGER {name}" for name in installed(connection)]


def _on_models(rules: Rules) -> Iterator[tuple[str, str]]:
    id_, model = rules.quote("id"), RegisteredModel
    yield (
        "mlp_model_inserted",
        _after(rules, "INSERT", model, "TRUE", rules.refresh(f"= NEW.{id_}")),
    )
    yield (
        "mlp_model_updated",
        _after(
            rules,
            f"UPDATE OF {', '.join(rules.columns(model, MODEL_FACTS))}",
            model,
            rules.changed(model, MODEL_FACTS, "OLD.", "NEW."),
            rules.refresh(f"= NEW.{id_}"),
        ),
    )
    [listed] = rules.columns(ListedModel, ["model"])
    delete = f"DELETE FROM {rules.table(ListedModel)} WHERE {listed} = OLD.{id_}"
    yield "mlp_model_deleted", _after(rules, "DELETE", model, "TRUE", delete)


def _on_runs(rules: Rules) -> Iterator[tuple[str, str]]:
    run, columns = TrainingRun, rules.columns(TrainingRun, [*RUN_FACTS, "status"])
    old, new = (_models_of(rules, alias) for alias in ("OLD.", "NEW."))
    yield (
        "mlp_run_inserted",
        _after(rules, "INSERT", run, rules.is_version("NEW."), rules.refresh(f"IN ({new})")),
    )
    yield (
        "mlp_run_updated",
        _after(
            rules,
            f"UPDATE OF {', '.join(columns)}",
            run,
            rules.run_changed("OLD.", "NEW."),
            rules.refresh(f"IN ({old} UNION ALL {new})"),
        ),
    )
    yield (
        "mlp_run_deleted",
        _after(rules, "DELETE", run, rules.is_version("OLD."), rules.refresh(f"IN ({old})")),
    )


def _models_of(rules: Rules, alias: str) -> str:
    [model] = rules.columns(TrainingRun, ["registered_model"], alias)
    return f"SELECT {model} UNION ALL {rules.affected(alias + rules.quote('id'))}"


def _on_endpoints(rules: Rules) -> Iterator[tuple[str, str]]:
    table = DeployedEndpoint
    columns = ", ".join(rules.columns(table, ENDPOINT_FACTS))
    [old_model, old_active] = rules.columns(table, ["registered_model", "is_active"], "OLD.")
    [new_model, new_active] = rules.columns(table, ["registered_model", "is_active"], "NEW.")
    changed = rules.changed(table, ENDPOINT_FACTS, "OLD.", "NEW.")
    for name, event, when, models in (
        ("inserted", "INSERT", new_active, new_model),
        (
            "updated",
            f"UPDATE OF {columns}",
            f"({old_active} OR {new_active}) AND {changed}",
            f"{old_model}, {new_model}",
        ),
        ("deleted", "DELETE", old_active, old_model),
    ):
        yield (
            f"mlp_endpoint_{name}",
            _after(rules, event, table, when, rules.refresh(f"IN ({models})")),
        )


def _on_listed(rules: Rules) -> Iterator[tuple[str, str]]:
    [was] = rules.columns(ListedModel, ["registered"], "OLD.")
    [is_] = rules.columns(ListedModel, ["registered"], "NEW.")
    less, more = _count(rules, "OLD.", "-"), _count(rules, "NEW.", "+")
    for name, event, body in (
        ("inserted", "INSERT", [more]),
        ("updated", "UPDATE", [less, more]),
        ("deleted", "DELETE", [less]),
    ):
        when = {"INSERT": is_, "DELETE": was}.get(event, f"{was} OR {is_}")
        yield f"mlp_listed_{name}", _after(rules, event, ListedModel, when, *body)


def _count(rules: Rules, alias: str, sign: str) -> str:
    shared = rules.columns(ListedModel, PROPERTIES, alias)
    [registered, versions] = rules.columns(ListedModel, ["registered", "versions"], alias)
    return (
        f"INSERT INTO {rules.table(ModelCount)} ({', '.join(rules.counted)}) "
        f"SELECT {', '.join(shared)}, {sign}1, {sign}{versions} WHERE {registered}"
    )


def _after(rules: Rules, event: str, table: type[Model], when: str, *body: str) -> str:
    return f"AFTER {event} ON {rules.table(table)} WHEN {when} BEGIN {'; '.join(body)}; END"
