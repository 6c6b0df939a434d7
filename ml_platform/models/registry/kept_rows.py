"""The triggers that keep `ModelName` and `ModelMetric`, and the indexes of the parts of names.

Both databases run the same statements. Where the release before this one writes models, they fire
too. `counting.install` installs them beside its own, and then corrects what they keep.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache

MODELS, RUNS = "ml_platform_registeredmodel", "ml_platform_trainingrun"
NAMES, METRICS = "ml_platform_modelname", "ml_platform_modelmetric"
TABLES = {MODELS, RUNS, NAMES, METRICS}
PARTS = "mlp_name_parts"
"""On SQLite the index of parts, a table of FTS5; on PostgreSQL an index of `TRIGRAMS`."""
TRIGRAMS = "mlp_trigrams"
_NAME = (
    f"INSERT INTO {NAMES} (registered_model_id, name) {{source}} "
    f"ON CONFLICT (registered_model_id) DO UPDATE SET name = excluded.name "
    f"WHERE {NAMES}.name <> excluded.name"
)
_METRICS = (
    f"INSERT INTO {METRICS} (registered_model_id, key, value) "
    f"SELECT m.id, j.key, {{value}} FROM {MODELS} m JOIN {RUNS} r ON r.id = m.latest_run_id "
    f"CROSS JOIN {{each}} j WHERE {{number}} AND length(j.key) <= 200 AND {{which}}"
)
_FORGOTTEN = f"DELETE FROM {METRICS} WHERE registered_model_id {{which}}"


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a database says what the other one says otherwise."""

    differs: str
    each: str
    """The members of the metrics of the run `r`, which may be any JSON."""
    number: str
    """Whether the member `j` is a number that fits; PostgreSQL refuses to convert another one."""
    value: str

    def name(self, source: str) -> str:
        """The statement that keeps the names that this query reads."""
        return _NAME.format(source=source)

    def metrics(self, which: str) -> str:
        """The statement that adds the metrics of the models `m` for which this is true."""
        return _METRICS.format(which=which, each=self.each, number=self.number, value=self.value)


DIALECTS = {
    "sqlite": Dialect(
        differs="IS NOT",
        each="json_each(CASE json_type(r.metrics) WHEN 'object' THEN r.metrics ELSE '{}' END)",
        number="CASE WHEN j.type IN ('integer', 'real') "
        "THEN j.value BETWEEN -1e308 AND 1e308 ELSE FALSE END",
        value="CAST(j.value AS real)",
    ),
    "postgresql": Dialect(
        differs="IS DISTINCT FROM",
        each="LATERAL jsonb_each("
        "CASE jsonb_typeof(r.metrics) WHEN 'object' THEN r.metrics ELSE '{}' END)",
        number="CASE WHEN jsonb_typeof(j.value) = 'number' THEN j.value::numeric = 0 "
        "OR abs(j.value::numeric) BETWEEN 5e-324 AND 1e308 ELSE FALSE END",
        value="j.value::numeric::double precision",
    ),
}


def triggers(vendor: str) -> Iterator[tuple[str, str, str, str, tuple[str, ...]]]:
    """Of each trigger the name, the event, the table, the condition, and its statements."""
    say = DIALECTS[vendor]
    name = say.name("VALUES (NEW.id, NEW.model_name)")
    forget = _FORGOTTEN.format(which="= {}.id")
    newest = f"IN (SELECT id FROM {MODELS} WHERE latest_run_id = NEW.id)"
    yield "mlp_kept_model_added", "INSERT", MODELS, "TRUE", (name, say.metrics("m.id = NEW.id"))
    yield (
        "mlp_kept_model_renamed", "UPDATE OF model_name", MODELS,
        f"OLD.model_name {say.differs} NEW.model_name", (name,),
    )  # fmt: skip
    yield (
        "mlp_kept_model_newer", "UPDATE OF latest_run_id", MODELS,
        f"OLD.latest_run_id {say.differs} NEW.latest_run_id",
        (forget.format("NEW"), say.metrics("m.id = NEW.id")),
    )  # fmt: skip
    yield (
        "mlp_kept_model_deleted", "DELETE", MODELS, "TRUE",
        (f"DELETE FROM {NAMES} WHERE registered_model_id = OLD.id", forget.format("OLD")),
    )  # fmt: skip
    yield "mlp_kept_run_added", "INSERT", RUNS, "TRUE", (say.metrics("m.latest_run_id = NEW.id"),)
    yield (
        "mlp_kept_run_measured", "UPDATE OF metrics", RUNS,
        f"OLD.metrics {say.differs} NEW.metrics",
        (_FORGOTTEN.format(which=newest), say.metrics("m.latest_run_id = NEW.id")),
    )  # fmt: skip
    if vendor == "sqlite" and has_trigrams():
        yield from _of_parts()


def _of_parts() -> Iterator[tuple[str, str, str, str, tuple[str, ...]]]:
    """FTS5 is told each change, as its documentation says of tables with external content."""
    gone = (
        f"INSERT INTO {PARTS} ({PARTS}, rowid, name) "
        "VALUES ('delete', OLD.registered_model_id, OLD.name)"
    )
    new = f"INSERT INTO {PARTS} (rowid, name) VALUES (NEW.registered_model_id, NEW.name)"
    yield "mlp_kept_name_added", "INSERT", NAMES, "TRUE", (new,)
    yield "mlp_kept_name_changed", "UPDATE", NAMES, "TRUE", (gone, new)
    yield "mlp_kept_name_deleted", "DELETE", NAMES, "TRUE", (gone,)


@cache
def has_trigrams() -> bool:
    """Whether this SQLite finds parts of texts by an index: FTS5, and since 3.34 its trigrams."""
    with closing(sqlite3.connect(":memory:")) as memory:
        try:
            memory.execute("CREATE VIRTUAL TABLE t USING fts5(x, tokenize = 'trigram')")
        except sqlite3.OperationalError:
            return False
    return True


def comparison(vendor: str) -> list[str]:
    """The statements that correct what is kept, by the models as they are; most change nothing."""
    say = DIALECTS[vendor]
    right = (
        f"SELECT s.id FROM {METRICS} s JOIN {MODELS} m ON m.id = s.registered_model_id "
        f"JOIN {RUNS} r ON r.id = m.latest_run_id CROSS JOIN {say.each} j "
        f"WHERE s.key = j.key AND CASE WHEN {say.number} THEN s.value = {say.value} ELSE FALSE END"
    )
    kept = f"SELECT 1 FROM {METRICS} s WHERE s.registered_model_id = m.id AND s.key = j.key"
    return [
        f"DELETE FROM {NAMES} WHERE registered_model_id NOT IN (SELECT id FROM {MODELS})",
        say.name(f"SELECT id, model_name FROM {MODELS} WHERE TRUE"),
        f"DELETE FROM {METRICS} WHERE id NOT IN ({right})",
        say.metrics(f"NOT EXISTS ({kept})"),
    ]


def bodies(vendor: str) -> dict[str, str]:
    """Of each trigger what the database shows of it: on SQLite its statement, on PostgreSQL the
    body of its function, which has its name."""
    if vendor == "sqlite":
        return {
            one[0]: _creating(*one[:4]) + f" BEGIN {'; '.join(one[4])}; END"
            for one in triggers(vendor)
        }
    return {one[0]: f"BEGIN {'; '.join(one[4])}; RETURN NULL; END" for one in triggers(vendor)}


def on_postgresql() -> Iterator[str]:
    """The statements that create the functions and the triggers there."""
    shown = bodies("postgresql")
    for name, event, table, when, _ in triggers("postgresql"):
        yield (
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
            f"SET search_path FROM CURRENT AS $mlp${shown[name]}$mlp$"
        )
        yield f"{_creating(name, event, table, f'({when})')} EXECUTE FUNCTION {name}()"


def _creating(name: str, event: str, table: str, when: str) -> str:
    return f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW WHEN {when}"


def finding_index(vendor: str) -> str:
    """The query that has a row if the index of parts is there, even without its table."""
    if vendor == "sqlite":
        return f"SELECT 1 FROM sqlite_master WHERE name = '{PARTS}'"
    return (
        f"SELECT 1 FROM pg_proc WHERE proname = '{TRIGRAMS}' "
        "AND pronamespace = current_schema()::regnamespace"
    )


def removing_index(vendor: str) -> str:
    """The statement that removes it."""
    if vendor == "sqlite":
        return f"DROP TABLE {PARTS}"
    return f"DROP FUNCTION {TRIGRAMS}(text) CASCADE"


def indexes(vendor: str) -> list[str]:
    """The statements that create the index of parts, while there is none."""
    if vendor == "postgresql":
        # What each name is cut into is decided once: a change of it needs a function of a new name.
        return [
            f"CREATE FUNCTION {TRIGRAMS}(word text) RETURNS text[] "
            # Dearer than it seems to PostgreSQL, which would call it for row after row.
            "LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 5000 AS "
            "$mlp$SELECT coalesce(array_agg(DISTINCT substr(word, i, 3)), '{}') "
            "FROM generate_series(1, length(word) - 2) AS i$mlp$",
            f"CREATE INDEX {PARTS} ON {NAMES} USING gin ({TRIGRAMS}(name))",
        ]
    if not has_trigrams():
        return []
    return [
        f"CREATE VIRTUAL TABLE {PARTS} USING fts5(name, content = '{NAMES}', "
        "content_rowid = 'registered_model_id', tokenize = 'trigram case_sensitive 1')",
        f"INSERT INTO {PARTS} ({PARTS}) VALUES ('rebuild')",
    ]
