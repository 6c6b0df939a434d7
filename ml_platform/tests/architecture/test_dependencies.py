"""A host installs what the product imports, and nothing else."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

ROOT = Path(__file__).resolve().parents[3]
APART = {"tests", "localcloud", "demo", "migrations"}
NEEDED = {"django-tasks-db"}
"""An app that a host installs; nothing imports it."""


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", line)[0].lower() for line in requirements}


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def imported() -> set[str]:
    """Top-level modules that the product imports, at the top of a file or inside a function."""
    found: set[str] = set()
    for file in (ROOT / "ml_platform").rglob("*.py"):
        if file.relative_to(ROOT / "ml_platform").parts[0] not in APART:
            found |= set(re.findall(r"^\s*(?:from|import) (\w+)", file.read_text(), re.MULTILINE))
    return found


def test_what_the_product_imports_is_exactly_what_a_host_installs() -> None:
    declared = {name for name in names(project()["dependencies"]) if "google" not in name}
    distributions = packages_distributions()
    tops = imported() - set(sys.stdlib_module_names) - {"google", "grpc", "ml_platform"}
    used = {distribution.lower() for top in tops for distribution in distributions.get(top, ())}
    transitive = {"pydantic_core", "urllib3"}  # parts of pydantic and of requests
    assert used - transitive == declared - NEEDED


def test_what_only_the_local_cloud_imports_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    extras = project()["optional-dependencies"]
    assert {"croniter", "cryptography"} <= names(extras["localcloud"])
    monkeypatch.setitem(sys.modules, "ml_platform.localcloud", None)
    monkeypatch.delitem(sys.modules, "ml_platform.localcloud.__main__", raising=False)
    with pytest.raises(CommandError, match=r"pip install 'django-ml-platform\[localcloud\]'"):
        call_command("localcloud")


def test_one_module_knows_where_tasks_come_from() -> None:
    """They are part of Django from 6.0 on, and a library for 5.2."""
    knows = {
        str(file.relative_to(ROOT / "ml_platform"))
        for file in (ROOT / "ml_platform").rglob("*.py")
        if file.relative_to(ROOT / "ml_platform").parts[0] not in APART
        and re.search(r"^\s*(?:from|import) django[._]tasks\b", file.read_text(), re.MULTILINE)
    }
    assert knows == {"compat.py"}
