"""The defects of `ml_platform.tests.mutants` can be put into the product as it is today."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ml_platform.tests.mutants import ALL
from ml_platform.tests.mutants.__main__ import main, not_applicable
from ml_platform.tests.mutants.defect import Defect, NotApplicable
from ml_platform.tests.mutants.runner import HUNG, LIVED, ROOT, run_all

TESTS = Path(__file__).parents[1]


def test_each_snippet_stands_in_its_file_exactly_once():
    assert not_applicable(ALL) == []


def test_ids_are_unique_and_each_defect_names_tests_that_are_there():
    assert [name for name, times in Counter(defect.id for defect in ALL).items() if times > 1] == []
    named = {test.partition("::")[0] for defect in ALL for test in defect.tests}
    assert [name for name in sorted(named) if not (TESTS / name).is_file()] == []
    assert all(defect.tests for defect in ALL)


@pytest.mark.parametrize(
    ("old", "new"), [("no such text", "x"), ("e", "x"), ("def counted", "def counted")]
)
def test_a_snippet_that_is_missing_or_not_unique_or_the_same_is_an_error(old: str, new: str):
    defect = Defect(id="a", path="text.py", old=old, new=new, tests=())
    with pytest.raises(NotApplicable):
        defect.applied_to((ROOT / "ml_platform" / "text.py").read_text())


@pytest.mark.slow
def test_a_defect_that_no_test_notices_lives_and_one_that_never_ends_is_caught(
    monkeypatch: pytest.MonkeyPatch,
):
    """The tests named here do not use what is broken."""
    harmless = Defect(
        id="b",
        path="services/ownership/service_names.py",
        old="_PROJECT_SHARE = 8",
        new="_PROJECT_SHARE = 8  # harmless",
        tests=("unit/test_service_names.py",),
    )
    endless = Defect(
        id="c",
        path=harmless.path,
        old="LIMIT = 49",
        new="while True:\n    pass",
        tests=harmless.tests,
    )
    (lived,) = run_all([harmless], workers=1, tell=lambda verdict: None)
    monkeypatch.setattr("ml_platform.tests.mutants.runner.LONGEST", 3.0)
    (hung,) = run_all([endless], workers=1, tell=lambda verdict: None)
    assert (lived.result, lived.is_caught) == (LIVED, False)
    assert (hung.result, hung.is_caught) == (HUNG, True)


def test_the_same_seed_lists_the_same_sample(capsys: pytest.CaptureFixture[str]):
    listed = []
    for seed in ("7", "7", "8"):
        assert main(["--list", "--sample", "3", "--seed", seed]) == 0
        listed.append(capsys.readouterr().out)
    assert listed[0] == listed[1] != listed[2]
    assert len(listed[0].splitlines()) == 3
    with pytest.raises(SystemExit):
        main(["--only", "no-such-defect"])
