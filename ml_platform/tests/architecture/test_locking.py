"""Whoever writes several rows locks them in one order first; read from the source of all rooms."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ml_platform

ROOT = Path(ml_platform.__file__).parent
ROOMS = ("services", "api", "pages", "management", "models", "jobs.py", "kpis")
WRITES = {"update", "move", "delete", "_raw_delete", "bulk_update", "select_for_update"}
ONE_ROW = {"pk", "service_name", "idempotency_key", "model_id"}
"""Lookups that find one row at most."""
QUERIES = {"objects", "_default_manager", "filter", "exclude"}
SORTED_INSERTS = {
    "_upsert": "sweeping: sorted by its caller",
    "_with_manifests": "pushed_models: sorted by their run",
    "_see_first": "findings: sorted by its caller",
    "note_finding": "findings: one row",
    "add_folders": "waiting: sorted by their run",
    "open_operation": "operations: one row",
    "take_reads": "verification counts: all callers, then one",
    "insert_schedule": "schedules: one row",
    "_bind": "idempotency: one row",
    "store_days": "metrics: the days of one service, oldest first",
    "note_unread": "metrics: the same",
    "_keep": "daily_counts: the projects of one day, by key",
}
"""Inserts that may meet rows of others; they wait in the order in which they are given."""
EACH_BY_ITSELF = {"_follow": "run_polling", "_interrupt": "sweeping: the same row again"}
"""Loops in which each write is a transaction of its own, and holds nothing while it waits."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> Iterator[tuple[str, str]]:
    for room in ROOMS:
        path = ROOT / room
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            if file != ROOT / "models" / "locking.py":
                yield str(file.relative_to(ROOT)), file.read_text()


def offences(source: str) -> Iterator[str]:
    """`function:line` of each write to several rows that no lock in order stands before."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, Function)]
    answers = {function.name: value for function in functions for value in _returned(function)}
    for function in functions:
        known = answers | _assigned(function)
        locked = min((call.lineno for call in _calls(function) if _is_lock(call)), default=10**9)
        for call in _calls(function):
            if _is_unordered(call, known, function) and not _is_behind(call, locked):
                yield f"{function.name}:{call.lineno}"


def _is_behind(call: ast.Call, locked: int) -> bool:
    """Whether the lock helps: not where rows come to be, nor where it is the lock itself."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    return call.lineno > locked and name not in ("bulk_create", "select_for_update")


def _calls(function: Function) -> list[ast.Call]:
    return [node for node in ast.walk(function) if isinstance(node, ast.Call)]


def _returned(function: Function) -> list[ast.expr]:
    """What the function gives back, for one that does nothing else."""
    return [node.value for node in function.body if isinstance(node, ast.Return) and node.value]


def _assigned(function: Function) -> dict[str, ast.expr]:
    """What a function's names were given last, and what its arguments say that they are."""
    found: dict[str, ast.expr] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
        elif isinstance(node, ast.arg) and "QuerySet" in ast.unparse(node.annotation or node):
            found[node.arg] = ast.parse("table.objects.filter()", mode="eval").body
    return found


def _chain(expression: ast.expr, known: dict[str, ast.expr]) -> Iterator[ast.expr]:
    """An expression and what stands before its dots, through the names it was kept under."""
    seen: set[str] = set()
    while True:
        yield expression
        if isinstance(expression, ast.Call):
            expression = expression.func
        elif isinstance(expression, ast.Attribute):
            expression = expression.value
        elif isinstance(expression, ast.IfExp):
            expression = expression.body
        elif isinstance(expression, ast.Name) and expression.id in known.keys() - seen:
            seen.add(expression.id)
            expression = known[expression.id]
        else:
            return


def _is_lock(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id in ("lock_rows", "lock_lineage")
    return _is_ordered(list(_chain(call, {})))


def _is_ordered(chain: list[ast.expr]) -> bool:
    words = [ast.unparse(part) for part in chain if isinstance(part, ast.Call)]
    return any(".order_by('pk').select_for_update()" in word for word in words)


def _is_unordered(call: ast.Call, known: dict[str, ast.expr], function: Function) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    name, chain = call.func.attr, list(_chain(call.func.value, known))
    if name == "bulk_create":
        meets = {"update_conflicts", "ignore_conflicts"} & {word.arg for word in call.keywords}
        return bool(meets) and function.name not in SORTED_INSERTS
    if name not in WRITES or (name == "update" and call.args) or _is_ordered([call, *chain]):
        return False
    attributes = {part.attr for part in chain if isinstance(part, ast.Attribute)}
    if not attributes & QUERIES or {"first", "get", "create"} & attributes:
        return False
    if isinstance(chain[-1], ast.Name) and chain[-1].id == "self":
        return False  # a queryset's own method: its callers are looked at
    found = {word.arg for part in chain if isinstance(part, ast.Call) for word in part.keywords}
    after = {"pk", "service_name"} & _asked_for(call, function)
    return _is_repeated(call, function) or not (found & ONE_ROW or after)


def _is_repeated(call: ast.Call, function: Function) -> bool:
    """Whether it stands in a loop, so that one row after the other is as several at once."""
    if function.name in EACH_BY_ITSELF:
        return False
    loops = [node for node in ast.walk(function) if isinstance(node, ast.For)]
    return any(call is part for loop in loops for line in loop.body for part in ast.walk(line))


def _asked_for(call: ast.Call, function: Function) -> set[str | None]:
    """The lookups of the `get` or `filter` that follows a call directly."""
    for other in _calls(function):
        if isinstance(other.func, ast.Attribute) and other.func.value is call:
            return {word.arg for word in other.keywords}
    return set()


def test_no_write_to_several_rows_is_without_their_lock() -> None:
    found = [f"{file}:{offence}" for file, source in sources() for offence in offences(source)]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "Finding.objects.filter(status='open').update(consecutive_sightings=1)",
        "rows.exclude(a=1).update(consecutive_sightings=1)",
        "rows.delete()",
        "rows.bulk_update(found, ['consecutive_sightings'])",
        "TrainingRun.objects.filter(pk__in=[1]).move(to='x')",
        "list(rows.select_for_update())",
        "Finding.objects.bulk_create(found, ignore_conflicts=True)",
        "for pk in found: Finding.objects.filter(pk=pk).update(consecutive_sightings=1)",
    ],
)
def test_one_without_is_noticed(line: str) -> None:
    head = "def work():\n    rows = Finding.objects.filter(kind='a')\n"
    assert list(offences(f"{head}    {line}\n")) == ["work:3"]
    locked = f"{head}    lock_rows(rows)\n    {line}\n"
    known = "bulk_create" not in line and "select_for_update" not in line
    assert list(offences(locked)) == ([] if known else ["work:4"])


def test_one_row_needs_no_order() -> None:
    line = "Finding.objects.filter(pk=pk).update(consecutive_sightings=1)"
    assert list(offences(f"def work(pk):\n    {line}\n")) == []
