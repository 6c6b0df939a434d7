"""The local cloud as a wheel of its own, in an environment with what it declares and no more."""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import ml_platform.localcloud

pytestmark = pytest.mark.slow
SOURCE = Path(ml_platform.localcloud.__file__).parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the folder of the package."""
    directory = tmp_path_factory.mktemp("wheel")
    build = "wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir"
    pip(*build.split(), str(directory), str(SOURCE))
    return next(directory.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, its declared requirements, and pytest."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, symlinks=True)
    python = home / "bin" / "python"
    pip("--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    site = next(home.glob("lib/python*/site-packages"))
    (metadata,) = site.glob("vertex_localcloud-*.dist-info")
    declared = Distribution.at(metadata).requires or []
    for dist in closure([*declared, "pytest"]):
        link(dist, site)
    return python


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True)


def closure(requirements: list[str]) -> Iterator[Distribution]:
    """The installed distributions that these requirements need, each once."""
    left, seen = [Requirement(text) for text in requirements], set[tuple[str, ...]]()
    while left:
        wanted = left.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        try:
            dist = distribution(name)
        except PackageNotFoundError:
            pytest.fail(f"{name} is required but not installed here.")
        if (name, *sorted(wanted.extras)) in seen:
            continue
        seen.add((name, *sorted(wanted.extras)))
        needs = [Requirement(text) for text in dist.requires or []]
        for extra in wanted.extras or [""]:
            left += [n for n in needs if not n.marker or n.marker.evaluate({"extra": extra})]
        yield dist


def link(dist: Distribution, site: Path) -> None:
    """Make the distribution's files part of the environment."""
    for file in dist.files or []:
        if file.parts[0] == "..":
            continue
        target = site.joinpath(*file.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.symlink_to(Path(str(file.locate())).resolve())


def test_it_holds_only_the_local_cloud(wheel: Path, python: Path) -> None:
    absent = "import importlib.util as u; print(*map(u.find_spec, ('django', 'ml_platform')))"
    found = subprocess.run([python, "-I", "-c", absent], check=True, capture_output=True, text=True)
    assert found.stdout.split() == ["None", "None"]
    assert "django" not in wheel.name


def test_its_program_starts_and_ends(python: Path) -> None:
    run = [
        str(python.with_name("localcloud")),
        "--port",
        "0",
        "--http-port",
        "0",
        "--tls-port",
        "0",
    ]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout
        assert program.stdout.readline().startswith("Local cloud of project demo-project")
        program.terminate()
        program.stdout.read()
    assert program.returncode == 0


def test_the_examples_of_its_readme_pass_with_its_fixture(python: Path, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (SOURCE / "README.md").read_text(), re.DOTALL)
    (tmp_path / "test_readme.py").write_text("\n".join(blocks))
    command = [str(python), "-m", "pytest", "-q", str(tmp_path)]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(re.findall('def test_', ''.join(blocks)))} passed" in ran.stdout
