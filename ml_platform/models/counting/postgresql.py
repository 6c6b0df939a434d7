"""The triggers on PostgreSQL, for each statement, with the functions that they call.

Two transactions that change one model, each by another of its rows, see nothing of each other: the
second one would write what is right without the first. So a function locks the rows of the models
first, by id, and reads in its next statement, which sees what was committed while it waited. These
locks come after those of the changed rows, in the order of `models.locking`.
"""

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

from .rules import ENDPOINT_FACTS, MODEL_FACTS, PROPERTIES, TABLES, Rules

DIFFERS = "IS DISTINCT FROM"
EVENTS = {
    "inserted": ("INSERT", "REFERENCING NEW TABLE AS new_rows"),
    "updated": ("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
    "deleted": ("DELETE", "REFERENCING OLD TABLE AS old_rows"),
    "truncated": ("TRUNCATE", ""),
}
PREFIXES: Mapping[type[Model], str] = {
    RegisteredModel: "mlp_model",
    TrainingRun: "mlp_run",
    DeployedEndpoint: "mlp_endpoint",
    ListedModel: "mlp_listed",
    ModelCount: "mlp_count",
}


def triggers(rules: Rules) -> Mapping[str, str]:
    """The body of the function of each trigger, by the name of both."""
    return {
        f"{PREFIXES[table]}_{event}": f"DECLARE ids bigint[]; BEGIN {body} RETURN NULL; END"
        for table in TABLES
        for event, body in _bodies(rules, table)
    } | kept_rows.bodies("postgresql")


def installed(connection: BaseDatabaseWrapper) -> Mapping[str, str]:
    """The same of the triggers that the database has, on its tables."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgname, prosrc FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
            "WHERE tgname LIKE 'mlp\\_%' AND proname = tgname AND tgenabled <> 'D' "
            "AND pronamespace = current_schema()::regnamespace"
        )
        return dict(cursor.fetchall())


def creating(rules: Rules) -> Iterator[str]:
    """The statements that create the functions and the triggers."""
    bodies = triggers(rules)
    for table in TABLES:
        for event, (verb, rows) in EVENTS.items():
            name = f"{PREFIXES[table]}_{event}"
            if name not in bodies:
                continue
            yield (
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql VOLATILE "
                f"SET search_path FROM CURRENT AS $mlp${bodies[name]}$mlp$"
            )
            yield (
                f"CREATE TRIGGER {name} AFTER {verb} ON {rules.table(table)} {rows} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
            )
    yield from kept_rows.on_postgresql()


def lock(rules: Rules) -> str:
    """The statement that keeps writers of `ListedModel` out until the end of the transaction."""
    return f"LOCK TABLE {rules.table(ListedModel)} IN SHARE ROW EXCLUSIVE MODE"


def folding(rules: Rules) -> list[str]:
    """The statement that replaces counts by their sums. Each row is deleted by one transaction
    only: what another one is folding is left to it."""
    count, id_ = rules.table(ModelCount), rules.quote("id")
    columns = ", ".join(rules.counted)
    shared = ", ".join(rules.counted[: len(PROPERTIES)])
    [n, versions] = rules.counted[len(PROPERTIES) :]
    sums = f"SUM({n}), SUM({versions})"
    return [
        f"WITH free AS (SELECT {id_} FROM {count} ORDER BY {id_} FOR UPDATE SKIP LOCKED), "
        f"taken AS (DELETE FROM {count} WHERE {id_} IN (SELECT {id_} FROM free) "
        f"RETURNING {columns}) INSERT INTO {count} ({columns}) SELECT {shared}, {sums} "
        f"FROM taken GROUP BY {shared} HAVING SUM({n}) <> 0 OR SUM({versions}) <> 0"
    ]


def dropping(connection: BaseDatabaseWrapper) -> list[str]:
    """The statements that remove what is installed, the functions of dropped tables too."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname FROM pg_proc WHERE proname LIKE 'mlp\\_%' AND pronargs = 0 "
            "AND prorettype = 'trigger'::regtype "
            "AND pronamespace = current_schema()::regnamespace"
        )
        return [f"DROP FUNCTION {name}() CASCADE" for (name,) in cursor.fetchall()]


def _bodies(rules: Rules, table: type[Model]) -> Iterator[tuple[str, str]]:
    if table is ListedModel:
        yield from _on_listed(rules)
    elif table is not ModelCount:
        yield from _on_sources(rules, table)
    yield "truncated", "; ".join([lock(rules), *rules.recount(), ""])


def _on_sources(rules: Rules, table: type[Model]) -> Iterator[tuple[str, str]]:
    """Of each event, the ids of the models to refresh."""
    yield "inserted", _refresh(rules, _changed(rules, table, new="new_rows"))
    yield "updated", _refresh(rules, _changed(rules, table, old="old_rows", new="new_rows"))
    if table is not RegisteredModel:
        yield "deleted", _refresh(rules, _changed(rules, table, old="old_rows"))
        return
    [model] = rules.columns(ListedModel, ["model"])
    ids = f"SELECT {rules.quote('id')} FROM old_rows"
    yield "deleted", f"DELETE FROM {rules.table(ListedModel)} WHERE {model} IN ({ids});"


def _changed(rules: Rules, table: type[Model], old: str = "", new: str = "") -> str:
    """The query of the models of the rows in these transition tables that matter."""
    id_ = rules.quote("id")
    names = {"o.": old, "n.": new}
    rows = " JOIN ".join(f"{name} {alias[0]}" for alias, name in names.items() if name)
    if old and new:
        rows += f" USING ({id_})"
    there = [alias for alias, name in names.items() if name]
    asked = _matters(rules, table, there)
    return " UNION ALL ".join(
        f"SELECT {model} FROM {rows} {more} WHERE {asked}"
        for alias in there
        for model, more in _models_of(rules, table, alias)
    )


def _matters(rules: Rules, table: type[Model], there: list[str]) -> str:
    both = len(there) == len("on")
    if table is TrainingRun:
        return rules.run_changed("o.", "n.") if both else rules.is_version(there[0])
    if table is DeployedEndpoint:
        active = " OR ".join(alias + rules.quote("is_active") for alias in there)
        return f"({active})" + (
            f" AND {rules.changed(table, ENDPOINT_FACTS, 'o.', 'n.')}" if both else ""
        )
    return rules.changed(table, MODEL_FACTS, "o.", "n.") if both else "TRUE"


def _models_of(rules: Rules, table: type[Model], alias: str) -> Iterator[tuple[str, str]]:
    """The expression of a model's id, and what it needs to be joined."""
    id_ = rules.quote("id")
    if table is RegisteredModel:
        yield alias + id_, ""
        return
    yield rules.columns(table, ["registered_model"], alias)[0], ""
    if table is TrainingRun:
        yield "more.id", f"CROSS JOIN LATERAL ({rules.affected(alias + id_)}) AS more(id)"


def _refresh(rules: Rules, models: str) -> str:
    listed = rules.table(ListedModel)
    [model] = rules.columns(ListedModel, ["model"])
    return (
        f"SELECT array_agg(DISTINCT m) INTO ids FROM ({models}) AS changed(m) "
        "WHERE m IS NOT NULL; IF ids IS NOT NULL THEN "
        f"PERFORM 1 FROM {listed} WHERE {model} = ANY(ids) ORDER BY {model} FOR NO KEY UPDATE; "
        f"{rules.refresh('= ANY(ids)')}; END IF;"
    )


def _on_listed(rules: Rules) -> Iterator[tuple[str, str]]:
    less, more = _rows(rules, "old_rows", "-"), _rows(rules, "new_rows", "+")
    for event, rows in (
        ("inserted", more),
        ("updated", f"{less} UNION ALL {more}"),
        ("deleted", less),
    ):
        shared = ", ".join(rules.counted[: len(PROPERTIES)])
        yield (
            event,
            f"INSERT INTO {rules.table(ModelCount)} ({', '.join(rules.counted)}) "
            f"SELECT {shared}, SUM(n), SUM(v) FROM ({rows}) AS changes GROUP BY {shared} "
            "HAVING SUM(n) <> 0 OR SUM(v) <> 0;",
        )


def _rows(rules: Rules, table: str, sign: str) -> str:
    shared = ", ".join(rules.columns(ListedModel, PROPERTIES))
    [registered, versions] = rules.columns(ListedModel, ["registered", "versions"])
    return f"SELECT {shared}, {sign}1 AS n, {sign}{versions} AS v FROM {table} WHERE {registered}"
