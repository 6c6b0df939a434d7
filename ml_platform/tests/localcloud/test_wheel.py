"""The local cloud as a wheel of its own, in an environment with what it declares and no more."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import ml_platform.localcloud
from ml_platform.tests.wheels import build_wheel, make_environment

pytestmark = pytest.mark.slow
SOURCE = Path(ml_platform.localcloud.__file__).parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the folder of the package."""
    return build_wheel(SOURCE, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, its declared requirements, and pytest."""
    return make_environment(tmp_path_factory.mktemp("environment"), wheel, "pytest")


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
