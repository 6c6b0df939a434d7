"""What a row of a host would be here, by its mapping: no database, no cloud."""

from __future__ import annotations

from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import pytest

from ml_platform.cloud.answers import Absent, Present, Unknown
from ml_platform.services.importing.adoptions import ADOPTED, compare_service
from ml_platform.services.importing.candidates import (
    BadRow,
    EndpointRow,
    ModelRow,
    RunRow,
    ScheduleRow,
    candidate_of,
    first_time,
)
from ml_platform.services.importing.context import Decision, HostModel, Outcome
from ml_platform.services.importing.history import compare_run
from ml_platform.services.importing.mapping import BadMapping, Runs, Source, load_mapping

NOW = datetime(2026, 2, 11, 12, 30, tzinfo=UTC)  # a Wednesday
NAME = "projects/1/locations/europe-central2/models/7"
RUNS = Runs.model_validate(
    {
        "table": "runs", "project": "tenant", "name": "model", "version": "version",
        "resource_name": "vertex", "blessed": "ok", "created_at": "at",
        "status": {"field": "state", "values": {"ok": "completed", "1": "failed"}},
        "parameters": {"*": "config.params", "gpu": "gpu", "price": "price"},
        "metrics": {"*": "scores", "loss": "loss"},
    }
)  # fmt: skip


def row(**values: Any) -> RunRow:
    given = {"id": 5, "tenant": 1, "model": "Chern Rank", "state": "ok", **values}
    return candidate_of(RunRow, RUNS, given)


def test_a_row_is_read_by_its_mapping() -> None:
    found = row(
        vertex=NAME, version=3, ok=1, at="2026-01-01 10:00:00", gpu='{"count": 1}', loss=0.5,
        config='{"params": {"epochs": 5}}', price=Decimal("1.5"),
        scores={"recall": {"at_5": 0.1}, "bad": float("nan"), "none": None},
    )  # fmt: skip
    assert (found.key, found.project, found.model_name) == ("5", "1", "chern_rank")
    assert (found.status, found.blessed) == ("completed", True)
    assert found.created_at == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert found.parameters == {"epochs": 5, "gpu": {"count": 1}, "price": 1.5}
    metrics, remark = found.kept_metrics
    assert metrics == {"recall.at_5": 0.1, "loss": 0.5}
    assert "bad (NaN)" in remark
    assert str(found.pointer) == f"{NAME}@3"
    assert row(state=1).status == "failed"
    unknown = row(vertex="", ok=None, version="")
    assert (unknown.blessed, unknown.pointer, unknown.metrics) == (None, None, {})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"state": "archived"}, "status is 'archived': Input should be 'pending'"),
        ({"model": None}, "name has no value."),
        ({"at": "yesterday"}, "created_at is 'yesterday': Input should be a valid datetime"),
        ({"gpu": float("inf")}, "parameters is {'gpu': inf}: gpu holds a number"),
    ],
)
def test_a_row_that_cannot_be_ours_says_why(values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRow) as refused:
        row(**values)
    assert str(refused.value).startswith(words)


def test_a_default_without_a_column_is_a_constant() -> None:
    assert Source(default="x").read({}) == "x"
    assert Source(field="a.b.c", default="x").read({"a": '{"b": {"c": 2}}'}) == 2
    assert Source(field="a.b", default="x").read({"a": "no object"}) == "x"


def test_the_ready_mapping_is_found_by_its_name_and_an_unknown_one_is_not() -> None:
    assert load_mapping("b2b_recs").runs.table == "training_trainingrun"
    with pytest.raises(BadMapping) as refused:
        load_mapping("nobody")
    assert refused.value.advice.endswith("a ready one: b2b_recs.")


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({"frequency": "daily", "time": time(4)}, datetime(2026, 2, 12, 3, tzinfo=UTC)),
        ({"frequency": "daily", "time": time(23)}, datetime(2026, 2, 11, 22, tzinfo=UTC)),
        ({"frequency": "hourly", "time": time(0, 15)}, datetime(2026, 2, 11, 13, 15, tzinfo=UTC)),
        ({"frequency": "weekly", "time": time(4), "weekday": 0},
         datetime(2026, 2, 16, 3, tzinfo=UTC)),
        ({"frequency": "monthly", "time": time(4), "day": 31},
         datetime(2026, 3, 31, 2, tzinfo=UTC)),
        ({"frequency": "once", "starts_at": NOW}, NOW),
    ],
)  # fmt: skip
def test_the_first_time_of_a_schedule_is_its_next(fields: dict[str, Any], first: datetime) -> None:
    about: dict[str, Any] = {"key": 1, "project": 1, "model": 1, "name": "n", "state": "active"}
    schedule = ScheduleRow(**about, **fields, time_zone="Europe/Warsaw")
    assert first_time(schedule, after=NOW) == first
    for lacking in ("time", "weekday", "day", "starts_at"):
        if lacking in fields:
            with pytest.raises(BadRow, match=f"{lacking} has no value"):
                first_time(schedule.model_copy(update={lacking: None}), after=NOW)


def at_vertex(answer: Any, outcome: Outcome = Outcome.IMPORTED) -> HostModel:
    model = ModelRow(key="1", project="1", name="chern_rank", resource_name=NAME)
    return HostModel(model, model.vertex_name, answer, Decision(outcome))


class Version:
    version = "3"


@pytest.mark.parametrize(
    ("values", "model", "outcome", "words"),
    [
        ({}, None, "imported", ""),
        ({"version": 3}, Present([Version]), "imported", "Version 3 of 7."),
        ({"version": 4}, Present([Version]), "imported", "As history: Vertex AI has no version 4"),
        ({"version": 3}, Absent("gone"), "imported", "As history: Vertex AI has no version 3"),
        ({"version": 3}, Unknown("denied", "x"), "waits", "Whether it is a version is unknown. d"),
    ],
)
def test_what_becomes_of_a_run_follows_from_vertex_ai(
    values: dict[str, Any], model: Any, outcome: str, words: str
) -> None:
    known = {"is_here": False, "has_project": True, "is_adopted": False}
    there = at_vertex(model) if model else None
    found = compare_run(row(vertex=NAME, **values), model=there, **known)
    assert (found.outcome, found.why[: len(words)]) == (outcome, words)
    present = known | {"is_here": True}
    live = row(state="running")
    assert compare_run(live, model=there, **present).outcome == "waits"
    assert compare_run(row(), model=there, **present).outcome == "present"
    nowhere = known | {"has_project": False}
    assert compare_run(row(), model=there, **nowhere).outcome == "refused"


def test_a_version_of_a_model_that_is_here_waits_for_the_repair_that_adopts_it() -> None:
    model = at_vertex(Present([Version]), Outcome.PRESENT)
    known = {"is_here": False, "has_project": True, "is_adopted": False}
    found = compare_run(row(vertex=NAME, version=3), model=model, **known)
    assert found.outcome == "waits"
    assert "repair the finding about more versions" in found.why


@pytest.mark.parametrize(
    ("active", "answer", "expected"),
    [
        (True, Present(None), ADOPTED),
        (False, Present(None), Outcome.REFUSED),
        (True, Absent("gone"), Outcome.IMPORTED),
        (False, Absent("gone"), Outcome.IMPORTED),
        (True, Unknown("denied", "x"), Outcome.WAITS),
        (False, Unknown("denied", "x"), Outcome.WAITS),
    ],
)
def test_what_becomes_of_an_endpoint_follows_from_cloud_run(
    active: bool, answer: Any, expected: Any
) -> None:
    endpoint = EndpointRow(key="1", model="1", service="svc", active=active)
    found = compare_service(endpoint, answer)
    assert found == expected or (found.outcome == expected and found != ADOPTED)
    assert found.why
