"""Which repairs a finding has, and which one is meant."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ml_platform.models import Finding
from ml_platform.models.states import FindingStatus
from ml_platform.services.findings.kinds import FindingKind, Kind, Repair
from ml_platform.services.repairs.reconciliation import (
    NoRepair,
    RepairNotNamed,
    find_repair,
    is_safe,
    repairs_of,
)

TAKE = Repair(path="", slug="take_over", button="Take it over", changes_production=False)
BACK = Repair(path="", slug="put_back", button="Put ours back", changes_production=True)


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> Kind:
    kind = FindingKind.ORPHAN
    facts = replace(kind.facts, repair=TAKE, alternatives=(BACK,))
    monkeypatch.setattr(kind, "facts", facts)
    return kind


def finding(kind: Kind, **evidence: str) -> Finding:
    return Finding(kind=kind, registered_model_id=1, title="It differs", evidence=evidence)


def test_one_of_several_repairs_is_named(kind: Kind):
    row = finding(kind)
    assert repairs_of(row) == (TAKE, BACK)
    assert [find_repair(row, name) for name in ("take_over", "put_back")] == [TAKE, BACK]
    with pytest.raises(RepairNotNamed) as unnamed:
        find_repair(row, "")
    assert "take_over (Take it over), put_back (Put ours back)" in unnamed.value.advice
    with pytest.raises(NoRepair, match="'repair' is not possible") as other:
        find_repair(row, "repair")
    assert other.value.advice == "Possible: take_over, put_back."


def test_a_repair_that_the_comparison_excluded_says_why(kind: Kind):
    row = finding(kind, no_take_over="No setting has that port.")
    assert (repairs_of(row), is_safe(row)) == ((BACK,), False)
    with pytest.raises(NoRepair, match="No setting has that port"):
        find_repair(row, "take_over")
    with pytest.raises(RepairNotNamed):
        find_repair(row, "")


def test_the_only_repair_of_a_kind_needs_no_name():
    row = finding(FindingKind.LEFTOVER_SERVICE)
    only = FindingKind.LEFTOVER_SERVICE.facts.repair
    assert find_repair(row, "") == find_repair(row, "repair") == only
    with pytest.raises(NoRepair):
        find_repair(Finding(kind=FindingKind.LEFTOVER_SERVICE, title="It differs"), "")
    row.status = FindingStatus.REPAIRED
    assert repairs_of(row) == ()
    assert repairs_of(Finding(kind="of_a_newer_release")) == ()
