"""Every failure that we raise says what to do about it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import ml_platform
from ml_platform.errors import PlatformError

FOREIGN = ("ml_platform.tests", "ml_platform.localcloud", "ml_platform.demo")
OURS = [
    found.name
    for found in pkgutil.walk_packages(ml_platform.__path__, "ml_platform.")
    if not found.name.startswith((*FOREIGN, "ml_platform.migrations"))
]


def raised(module: str) -> Iterator[tuple[ast.Call, type[PlatformError]]]:
    """The calls in a module that make a failure of ours, each with its class."""
    loaded = importlib.import_module(module)
    for node in ast.walk(ast.parse(Path(str(loaded.__file__)).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            made = getattr(loaded, node.func.id, None)
            if isinstance(made, type) and issubclass(made, PlatformError):
                yield node, made


def test_each_failure_has_its_advice():
    silent = [
        f"{module}:{call.lineno}"
        for module in OURS
        for call, made in raised(module)
        if not made.advice and "advice" not in {keyword.arg for keyword in call.keywords}
    ]
    assert silent == []
