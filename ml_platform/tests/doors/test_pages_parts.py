"""The pure parts of the pages: the truth strip's judgement, times, charts, words."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from ml_platform.kpis import FourCounts, HistoryPoint, ServingCount
from ml_platform.models.states import OperationStatus
from ml_platform.pages.view_models import badges as words
from ml_platform.pages.view_models.charts import HEIGHT, LABEL_GAP, history_chart, nice_top
from ml_platform.pages.view_models.count_strip import truth_strip
from ml_platform.pages.view_models.fact_list import facts, readable
from ml_platform.pages.view_models.times import duration, moment, relative
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.templatetags.ml_platform import cut

NOW = datetime(2026, 2, 8, 12, tzinfo=UTC)


def strip(database=8, projects=8, registry_page=8, vertex=8, findings=None, **rest):
    counts = FourCounts(
        database=database, projects=projects, registry_page=registry_page, vertex=vertex, **rest
    )
    whole = ServingCount(active=4, verified=4, last=4)
    return truth_strip(counts=counts, serving=whole, findings=findings or {}, now=NOW)


def test_equal_counts_without_findings_are_one_quiet_line():
    truth = strip(swept_at=NOW - timedelta(minutes=2))
    assert (truth["quiet"], truth["agreed"], truth["verdict"].label) == (True, "8", "They agree")
    assert truth["swept"] is not None
    assert truth["swept"].relative == "2 min ago"


def test_equal_counts_with_a_finding_are_not_called_true():
    truth = strip(findings={FindingKind.STALE_POINTER: 1, FindingKind.UNMANAGED: 1})
    assert (truth["quiet"], truth["verdict"].tone) == (False, "warn")
    assert truth["notes"] == ("1 points at nothing", "1 only in Vertex AI")


def test_the_count_that_differs_from_the_others_is_marked():
    truth = strip(vertex=9, findings={FindingKind.UNMANAGED: 2, FindingKind.STALE_POINTER: 2})
    assert truth["verdict"].label == "They differ"
    assert [plane["tone"] for plane in truth["planes"]] == ["plain", "plain", "plain", "bad"]
    assert [plane["sign"] for plane in truth["planes"]] == ["", "=", "=", "≠"]
    assert truth["notes"] == ("2 point at nothing", "2 only in Vertex AI")
    assert truth["findings_open"] == 4


def test_an_unknown_count_is_a_question_mark_with_its_reason_and_never_red():
    truth = strip(vertex=None, vertex_reason="Permission denied.")
    assert truth["verdict"].tone == "unknown"
    plane = truth["planes"][3]
    assert (plane["count"], plane["tone"], plane["sign"]) == (
        "?",
        "unknown",
        "?",
    )
    assert truth["unknown"] == "Permission denied."


@pytest.mark.parametrize(
    ("seconds", "words_"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 min ago"),
        (3599, "59 min ago"),
        (7200, "2 h ago"),
        (86400 * 3, "3 d ago"),
        (86400 * 800, "2 y ago"),
        (-600, "in 10 min"),
    ],
)
def test_ages_are_told_in_their_largest_unit(seconds: int, words_: str):
    assert relative(timedelta(seconds=seconds)) == words_


@pytest.mark.parametrize(
    ("seconds", "words_"),
    [(0.25, "250 ms"), (41, "41 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (-5, "0 ms")],
)
def test_durations_are_told_in_two_units_at_most(seconds: float, words_: str):
    assert duration(timedelta(seconds=seconds)) == words_


def test_a_moment_keeps_the_exact_time_in_utc():
    when = datetime.fromisoformat("2026-02-08T10:30:15+02:00")
    told = moment(when, NOW)
    assert told is not None
    assert told.exact == "2026-02-08 08:30:15 UTC"
    assert told.iso == "2026-02-08T08:30:15+00:00"
    assert moment(None, NOW) is None


def points(*versions: int) -> list[HistoryPoint]:
    first = date(2026, 1, 1)
    return [
        HistoryPoint(day=first + timedelta(days=i), models=min(n, 3), versions=n)
        for i, n in enumerate(versions)
    ]


def test_a_chart_climbs_in_steps_within_its_plot():
    chart = history_chart(points(0, 0, 10, 10))
    versions = chart["lines"][0]
    foot, top = chart["ticks"][0]["y"], chart["ticks"][-1]["y"]
    assert versions["parts"] == (f"0,{foot} 2,{foot} 2,{top} 3,{top}",)
    assert foot == HEIGHT - 1
    assert [tick["label"] for tick in chart["ticks"]] == ["0", "5", "10"]
    assert chart["days"] == ("Jan 1", "Jan 3", "Jan 4")
    assert chart["summary"] == "From 2026-01-01 to 2026-01-04: models 0 to 3, versions 0 to 10."


def test_end_labels_never_cover_each_other_nor_leave_the_plot():
    for last in (1, 2, 3, 4, 100):
        ys = sorted(line["label_y"] for line in history_chart(points(0, last))["lines"])
        assert ys[1] - ys[0] >= LABEL_GAP
        assert ys[1] <= HEIGHT


def test_a_chart_of_nothing_says_so():
    chart = history_chart(points(0, 0))
    assert chart["empty"]
    assert chart["summary"] == "Nothing is registered yet."
    assert history_chart([])["empty"]


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 2), (2, 2), (3, 4), (7, 10), (16, 20), (41, 60), (100_000, 100_000)]
)
def test_an_axis_ends_at_a_number_one_reads_easily(highest: int, top: int):
    assert nice_top(highest) == top


def test_every_state_has_its_word_and_its_shape():
    assert {str(status) for status in words.OPERATION_TONES} == set(OperationStatus.values)
    tones = set(words.OPERATION_TONES.values())
    assert tones <= set(words.ICONS)


def test_evidence_is_told_in_plain_words_and_ids_are_marked_as_code():
    told = facts(
        {
            "resource_name": "projects/p/locations/l/models/6812719181234962432",
            "seen": False,
            "versions": [1, 2],
            "bucket": None,
            "reason": "The pipeline failed.",
            "created_at": "2026-02-06T12:00:00+00:00",
            "registered_model_id": 7,
        },
        NOW,
    )
    assert [(fact.name, fact.value, fact.code) for fact in told] == [
        ("In Vertex AI", "projects/p/locations/l/models/6812719181234962432", True),
        ("Seen", "no", False),
        ("Versions", "1, 2", False),
        ("Reason", "The pipeline failed.", False),
        ("Created", "2 d ago, 2026-02-06 12:00:00 UTC", False),
    ]


def test_what_vertex_ai_says_of_a_failed_pipeline_is_one_sentence():
    raw = (
        "The DAG failed because some tasks failed. The failed tasks are: [train].; Job (project_id "
        "= b2b, job_id = 77) is failed due to the above error."
    )
    assert readable(raw) == "The pipeline failed at train."
    assert readable("Quota\n  exceeded.") == "Quota exceeded."


def test_long_names_are_cut_in_the_middle_and_short_ones_are_not():
    assert cut("a" * 44) == "a" * 44
    assert cut("0123456789" * 10, 11) == "01234…56789"
