"""Wheels built from the tree, and environments that hold what a wheel declares and no more."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def build_wheel(source: Path, directory: Path) -> Path:
    """Build the wheel of a folder with a `pyproject.toml` into the directory."""
    build = "wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir"
    _pip(*build.split(), str(directory), str(source))
    return next(directory.glob("*.whl"))


def make_environment(home: Path, wheel: Path, *more: str, extras: str = "") -> Path:
    """Make an environment with the wheel and what it declares; returns its interpreter.

    What else is wanted is `more`. The distributions are those of this environment, linked: nothing
    is downloaded.
    """
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    _pip("--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    site = next(home.glob("lib/python*/site-packages"))
    [metadata] = site.glob(f"{wheel.name.split('-')[0]}-*.dist-info")
    for dist in _closure([*_declared(Distribution.at(metadata), extras), *more]):
        _link(dist, site)
        _write_scripts(dist, python)
    return python


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True)


def _declared(dist: Distribution, extras: str) -> list[str]:
    needs = map(Requirement, dist.requires or [])
    return [str(need) for need in needs if _is_needed(need, ["", *extras.split(",")])]


def _is_needed(need: Requirement, extras: list[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": one}) for one in extras)


def _closure(requirements: list[str]) -> Iterator[Distribution]:
    """The installed distributions that these requirements need, each once."""
    left, seen = [Requirement(text) for text in requirements], set[tuple[str, ...]]()
    while left:
        wanted = left.pop()
        wanted.marker = None
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        try:
            dist = distribution(name)
        except PackageNotFoundError as error:
            raise RuntimeError(f"{name} is required but not installed here.") from error
        if (name, *sorted(wanted.extras)) in seen:
            continue
        seen.add((name, *sorted(wanted.extras)))
        needs = map(Requirement, dist.requires or [])
        left += [need for need in needs if _is_needed(need, ["", *wanted.extras])]
        yield dist


def _link(dist: Distribution, site: Path) -> None:
    """Make the distribution's files part of the environment."""
    for file in dist.files or []:
        if file.parts[0] == "..":
            continue
        target = site.joinpath(*file.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(Path(str(file.locate())).resolve())


def _write_scripts(dist: Distribution, python: Path) -> None:
    for script in dist.entry_points.select(group="console_scripts"):
        module, _, function = script.value.partition(":")
        file = python.with_name(script.name)
        file.write_text(f"#!{python}\nimport sys, {module}\nsys.exit({module}.{function}())\n")
        file.chmod(0o755)
