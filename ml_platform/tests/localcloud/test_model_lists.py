"""Pages of models: orders and filters from the index, tokens that hold while models change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT

COUNT = 1_200  # more than two chunks of the index


def ids(found: Any) -> list[str]:
    """The ids of listed models."""
    return [model.name.rpartition("/")[2] for model in found]


@pytest.fixture
def many(cloud: LocalCloud) -> None:
    """Models of two teams; names repeat; the clock stands still for each three."""
    cloud.clock.freeze()
    for number in range(COUNT):
        labels = {"team": "red" if number % 2 else "blue", "number": str(number)}
        if number % 400 == 0:
            labels["rare"] = "yes"
        cloud.models.seed(f"m{number}", display_name=f"name-{number % 7}", labels=labels)
        if number % 3 == 0:
            cloud.clock.advance(1)


EXPRESSIONS: tuple[tuple[str, Callable[[int], object]], ...] = (
    ("labels.team=red", lambda n: n % 2),
    ("labels.team=red labels.rare=yes", lambda _: False),
    ("labels.rare=yes AND labels.team=blue", lambda n: n % 400 == 0),
    ("labels.rare:*", lambda n: n % 400 == 0),
    ("labels:rare AND NOT model=m400", lambda n: n in (0, 800)),
    ("labels.team=red OR labels.rare=yes", lambda n: n % 2 or n % 400 == 0),
    ("NOT labels.team=red", lambda n: not n % 2),
    ("NOT (labels.team=red OR labels.number=2)", lambda n: not n % 2 and n != 2),
    ("labels.number=119*", lambda n: str(n).startswith("119")),
    ("labels.team!=red", lambda n: not n % 2),
    ("display_name=name-3 AND labels.team=red", lambda n: n % 7 == 3 and n % 2),
    ("model=m77", lambda n: n == 77),
    ("model=m77 labels.team=blue", lambda _: False),
    ("labels.team=green", lambda _: False),
)


@pytest.mark.usefixtures("many")
def test_filters_meet_the_same_models_in_every_order(models: ModelServiceClient) -> None:
    for expression, chosen in EXPRESSIONS:
        wanted = [number for number in range(COUNT) if chosen(number)]
        asked = {"parent": PARENT, "filter": expression, "page_size": 300}
        found = ids(models.list_models(asked))
        assert found == [f"m{number}" for number in wanted], expression
        by_name = ids(models.list_models(asked | {"order_by": "display_name desc"}))
        wanted.sort(key=lambda number: -(number % 7))
        assert by_name == [f"m{number}" for number in wanted], expression


@pytest.mark.usefixtures("many")
def test_several_orders_at_once_meet_every_model_once(models: ModelServiceClient) -> None:
    order = "display_name, create_time desc"
    found = models.list_models({"parent": PARENT, "order_by": order, "page_size": 299})
    second = [-((number + 2) // 3) for number in range(COUNT)]
    wanted = sorted(range(COUNT), key=lambda n: (n % 7, second[n], n))
    assert ids(found) == [f"m{number}" for number in wanted]


@pytest.mark.parametrize("order", ["", "display_name", "create_time desc", "update_time"])
def test_a_token_holds_while_models_come_and_go(
    cloud: LocalCloud, models: ModelServiceClient, order: str
) -> None:
    for number in range(6):
        cloud.models.seed(f"m{number}", display_name=f"name-{number}")
        cloud.clock.advance(1)
    asked = {"parent": PARENT, "page_size": 2, "order_by": order}
    before = ids(models.list_models(asked))
    page = next(models.list_models(asked).pages)
    for gone in before[:2]:
        models.delete_model(name=f"{PARENT}/models/{gone}").result()
    rest = models.list_models(asked | {"page_token": page.next_page_token})
    assert ids(rest) == before[2:]


def test_a_changed_model_moves_in_the_order_of_updates(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.clock.freeze()
    for number in range(3):
        cloud.models.seed(f"m{number}", display_name="same", versions=[1, 2])
        cloud.clock.advance(1)
    version = {"name": f"{PARENT}/models/m0@2", "labels": {"team": "red"}}
    models.update_model({"model": version, "update_mask": {"paths": ["labels"]}})
    cloud.clock.advance(1)
    models.merge_version_aliases(name=f"{PARENT}/models/m1@1", version_aliases=["default"])
    found = models.list_models({"parent": PARENT, "order_by": "update_time desc"})
    assert ids(found) == ["m1", "m0", "m2"]
    assert ids(models.list_models({"parent": PARENT, "filter": "labels.team=red"})) == ["m0"]
    models.merge_version_aliases(name=f"{PARENT}/models/m0@1", version_aliases=["default"])
    assert not ids(models.list_models({"parent": PARENT, "filter": "labels.team=red"}))


def test_a_stale_list_looks_at_what_was_there(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.clock.freeze()
    cloud.models.seed("old", display_name="old", labels={"team": "red"})
    cloud.clock.advance(100)
    cloud.models.seed("new", display_name="new", labels={"team": "red"})
    request = {"parent": PARENT, "parent_model": f"{PARENT}/models/old"}
    version = {"display_name": "old", "labels": {"team": "blue"}, "version_aliases": ["default"]}
    models.upload_model(request | {"model": version}).result()
    cloud.faults.order("ModelService.ListModels", "stale", seconds=50)
    (seen,) = models.list_models({"parent": PARENT, "filter": "labels.team=red"})
    assert (seen.display_name, seen.version_id) == ("old", "1")
    assert ids(models.list_models({"parent": PARENT, "filter": "labels.team=red"})) == ["new"]


def test_versions_are_sorted_by_their_own_times(
    cloud: LocalCloud, models: ModelServiceClient
) -> None:
    cloud.clock.freeze()
    name = cloud.models.seed("ranker", display_name="ranker")
    for _ in range(3):
        cloud.clock.advance(1)
        models.upload_model(
            {"parent": PARENT, "parent_model": name, "model": {"display_name": "ranker"}}
        ).result()

    def listed(order: str) -> list[str]:
        asked = {"name": name, "order_by": order, "page_size": 3}
        return [model.version_id for model in models.list_model_versions(asked)]

    assert listed("create_time desc") == ["4", "3", "2", "1"]
    version = {"name": f"{name}@2", "version_description": "changed"}
    models.update_model({"model": version, "update_mask": {"paths": ["version_description"]}})
    cloud.clock.advance(1)
    assert listed("create_time desc") == ["4", "3", "2", "1"]
    models.update_model({"model": version, "update_mask": {"paths": ["version_description"]}})
    assert listed("update_time desc, create_time") == ["2", "4", "3", "1"]
    asked = {"name": name, "order_by": "create_time desc", "page_size": 2}
    page = next(models.list_model_versions(asked).pages)
    models.delete_model_version(name=f"{name}@3").result()
    rest = models.list_model_versions(asked | {"page_token": page.next_page_token})
    assert [model.version_id for model in rest] == ["2", "1"]


def test_a_token_of_another_order_is_refused(cloud: LocalCloud, models: ModelServiceClient) -> None:
    for number in range(3):
        cloud.models.seed(f"m{number}", display_name="same")
    asked = {"parent": PARENT, "page_size": 1, "order_by": "display_name"}
    token = next(models.list_models(asked).pages).next_page_token
    for order in ("", "display_name desc", "create_time, display_name"):
        with pytest.raises(exceptions.InvalidArgument):
            models.list_models(asked | {"page_token": token, "order_by": order})
