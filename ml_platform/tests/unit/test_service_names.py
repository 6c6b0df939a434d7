"""Names of Cloud Run services hold for whatever projects and models are called."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_platform.cloud.names import ServiceName
from ml_platform.errors import Invalid
from ml_platform.services.ownership.service_names import check_service_name, service_name

UID = UUID(int=7)
MODELS = st.from_regex(r"[a-z][a-z0-9_-]{0,62}", fullmatch=True)


def name(project: str, model: str, uid: UUID = UID, number: int = 1, owner: str = "live") -> str:
    return service_name(
        project=project, model=model, installation=owner, lineage=uid, number=number
    )


@pytest.mark.slow
@given(st.text(max_size=80), MODELS, st.uuids(), st.integers(1, 10**6))
def test_every_name_is_one_cloud_run_takes(
    project: str, model: str, uid: UUID, number: int
) -> None:
    made = name(project, model, uid, number)
    assert len(made) < 50
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", made)
    assert check_service_name(made) == made
    assert ServiceName("p", "l", made).service_id == made
    assert name(project, model, uid, number) == made


@given(st.text(max_size=80), MODELS, st.sets(st.uuids(), min_size=2, max_size=20))
def test_lineages_that_are_called_alike_have_different_names(
    project: str, model: str, uids: set[UUID]
) -> None:
    assert len({name(project, model, uid) for uid in uids}) == len(uids)


def test_words_that_only_look_alike_do_not_meet() -> None:
    twins = [("a b", "c"), ("a", "b_c"), ("a-b", "c"), ("A", "b-c")]
    names = {name(project, model, UUID(int=n)) for n, (project, model) in enumerate(twins)}
    assert len(names) == 4
    assert {made.rpartition("-")[0] for made in names} == {"a-b-c"}


def test_services_of_one_lineage_and_installations_in_one_project_differ() -> None:
    assert len({name("p", "m", number=n) for n in range(1, 9)}) == 8
    assert name("p", "m", owner="live") != name("p", "m", owner="staging")


def test_a_name_can_be_read_and_long_ones_lose_the_project_first() -> None:
    assert name("Test v1", "chern_rank_v4").rpartition("-")[0] == "test-v1-chern-rank-v4"
    made = name("a project with a very long name indeed", "chern_retrieval_model_v5")
    assert made.rpartition("-")[0] == "a-project-wit-chern-retrieval-model-v5"
    assert name("2026", "m").startswith("m-2026-m-")
    assert name("Größe 日本", "m").startswith("groe-m-")


@pytest.mark.parametrize("text", ["", "A", "1a", "a-", "-a", "a_b", "a" * 50, "a\n", "a b", "ä"])
def test_what_cloud_run_would_refuse_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        check_service_name(text)
