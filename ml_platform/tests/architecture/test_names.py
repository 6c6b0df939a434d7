"""Names are the field's terms: those that once needed their docstring do not come back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
MODULES = {
    "told", "touched", "english", "bring_up", "surplus", "unmanaged", "endpoint_rows",
    "remote_service", "deletion_marks", "interventions", "checking", "platform_job", "recipes",
    "deeds", "words", "asking", "holding", "making", "comparing", "deleting", "picture", "truth",
    "evidence", "frame", "door", "keyed", "live", "root", "model_lines",
    "schemas_in", "schemas_out", "schemas_whole", "schemas_operation", "gate", "effects",
    "inventory", "wire",
}  # fmt: skip
CLASSES = {
    "Recipe", "Done", "Again", "Wait", "Beat", "Verdict", "Drift", "Seen", "Place", "Hand", "Act",
    "Asked", "KeptAnswer", "ServiceDay", "Need",
}  # fmt: skip
FUNCTIONS = {
    "look_up", "ring", "carry_on", "hold", "because", "one_patience", "patient", "stand_down",
    "keep_up", "settle_run", "lose_version", "keep_protecting", "mark", "unmark", "forget",
    "too_young",
}  # fmt: skip
PREFIXES = ("judge_", "why_not_")


def product() -> Iterator[Path]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if not {"tests", "migrations"} & set(path.relative_to(PACKAGE).parts):
            yield path


def test_no_module_has_a_name_that_must_be_decoded():
    assert {path.stem for path in product()} & MODULES == set()


def test_no_class_or_function_has_a_name_that_must_be_decoded():
    found = set()
    for path in product():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name in CLASSES:
                found.add(f"{path.relative_to(PACKAGE)}: class {node.name}")
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                node.name in FUNCTIONS or node.name.lstrip("_").startswith(PREFIXES)
            ):
                found.add(f"{path.relative_to(PACKAGE)}: {node.name}()")
    assert found == set()
