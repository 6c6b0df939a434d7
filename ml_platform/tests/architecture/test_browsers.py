"""The second command of the README gets its own browser, or says in one sentence what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ml_platform.tests.browsers import INSTALL, MISSING, find_browser, provide_browser

# It keeps what it was called with and how, and asks a question that nobody shall be asked.
APT_GET = """#!/bin/sh
echo "$DEBIAN_FRONTEND: $@" >> "{folder}/called"
read answer && echo "asked: $answer" >> "{folder}/called"
{then}
"""
INSTALLS = 'if [ "$1" = install ]; then printf "#!/bin/sh\\n" > {folder}/chromium; fi'
CHMOD = "if [ -e {folder}/chromium ]; then /bin/chmod +x {folder}/chromium; fi"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`machine(apt_get="exit 100", root=False)`: nothing else is on PATH, no browser either."""

    def furnish(apt_get: str | None = f"{INSTALLS}\n{CHMOD}", *, root: bool = True) -> Path:
        if apt_get is not None:
            then = apt_get.format(folder=tmp_path)
            (tmp_path / "apt-get").write_text(APT_GET.format(folder=tmp_path, then=then))
            (tmp_path / "apt-get").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 0 if root else 1000)
        assert find_browser() == ""
        return tmp_path

    return furnish


def test_root_gets_chromium_by_apt_get_and_nobody_is_asked(
    machine: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = machine()
    assert provide_browser() == str(folder / "chromium")
    assert (folder / "called").read_text().splitlines() == [
        "noninteractive: update -qq",
        "noninteractive: install -y -qq --no-install-recommends chromium",
    ]
    said = capfd.readouterr().out.splitlines()
    assert said == [f"No browser found: {' '.join(command)}" for command in INSTALL]
    assert provide_browser() == str(folder / "chromium")
    assert len((folder / "called").read_text().splitlines()) == 2  # there is one now


def test_a_list_that_cannot_be_updated_does_not_keep_what_can_be_installed(
    machine: Callable[..., Path],
) -> None:
    folder = machine(f"{INSTALLS}\n{CHMOD}\nexit 100")
    assert provide_browser() == str(folder / "chromium")


@pytest.mark.parametrize(
    ("apt_get", "root", "calls"), [("", False, 0), (None, True, 0), ("exit 100", True, 2)]
)
def test_where_it_may_not_or_cannot_one_sentence_says_what_to_do(
    machine: Callable[..., Path], apt_get: str | None, root: bool, calls: int
) -> None:
    folder = machine(apt_get, root=root)
    with pytest.raises(FileNotFoundError) as told:
        provide_browser()
    assert str(told.value) == MISSING
    called = folder / "called"
    assert (len(called.read_text().splitlines()) if called.exists() else 0) == calls
