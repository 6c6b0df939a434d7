"""docs/host.md says of settings and checks what the code says; docs/proofs.md names real tests."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

from ml_platform import conf
from ml_platform.checks import counters, host, settings

TESTS = Path(__file__).resolve().parents[1]
DOCS = TESTS.parents[1] / "docs"
PAGE = (DOCS / "host.md").read_text()


def documented_fields() -> dict[str, str]:
    """The string that follows each field of Settings, by the field's name."""
    (tree,) = ast.parse(inspect.getsource(conf.Settings)).body
    assert isinstance(tree, ast.ClassDef)
    return {
        ast.unparse(field.target): " ".join(ast.literal_eval(text.value).split())
        for field, text in pairwise(tree.body)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }


def row(name: str, default: object, said: str) -> str:
    value = "" if default in ("", ()) else f"`{default}`"
    return f"| `{name}` | {value} | {said} |"


def test_the_table_holds_every_setting_with_its_default_and_its_docstring():
    said = documented_fields()
    expected = [row(f.name, f.default, said[f.name]) for f in fields(conf.Settings)]
    shown = re.findall(r"^\| `[A-Z_]+` \|.*$", PAGE, re.M)
    assert shown == expected


def test_every_check_is_listed():
    source = "".join(map(inspect.getsource, (settings, host, counters)))
    ids = set(re.findall(r'id="mlp\.([EW]\d{3})"', source)) | {"E001", "E003", "E004", "E005"}
    listed = set(re.findall(r"[EW]\d{3}", PAGE))
    assert listed == ids


def test_the_tests_of_the_incidents_checklist_are_there():
    named = re.findall(r"`(\w+/\w+\.py)::(\w+)`", (DOCS / "proofs.md").read_text())
    assert len(named) >= 5
    for file, test in named:
        assert f"def {test}(" in (TESTS / file).read_text(), test


def test_the_table_of_everyday_changes_names_what_is_there():
    page = (DOCS / "architecture.md").read_text()
    table = page.partition("## Where to make an everyday change")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (?!question|---)[^|]+ \| ([^|]+) \|$", table, re.M)
    assert len(rows) == 15
    for row in rows:
        paths = re.findall(r"`([\w/]+(?:\.py|/))`", row)
        assert paths
        assert [path for path in paths if not (TESTS.parent / path).exists()] == []
