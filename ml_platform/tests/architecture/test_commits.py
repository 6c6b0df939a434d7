"""Blocks of the product end alike in tests with plain `django_db` and with `transaction=True`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, connection, transaction

from ml_platform.cloud import storage
from ml_platform.cloud.transport.channels import before_call
from ml_platform.models import RegisteredModel
from ml_platform.services import refuse_inside_transaction
from ml_platform.tests.factories import RegisteredModelFactory

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

BOTH = pytest.mark.parametrize(
    "in_block",
    [
        pytest.param(True, marks=pytest.mark.django_db, id="plain"),
        pytest.param(False, marks=pytest.mark.django_db(transaction=True), id="transaction"),
    ],
)


def count_objects() -> int:
    return sum(len(page) for page in storage.list_objects("demo-artifacts", "runs/"))


@BOTH
def test_a_call_is_refused_inside_a_transaction_and_taken_after_it(
    cloud: LocalCloud, in_block: bool
) -> None:
    assert refuse_inside_transaction in before_call
    assert connection.in_atomic_block is in_block
    cloud.storage.write("demo-artifacts", "runs/x", b"")
    with (
        transaction.atomic(),
        pytest.raises(RuntimeError, match="was called inside a database transaction"),
    ):
        count_objects()
    assert count_objects() == 1


@BOTH
def test_what_waits_for_a_commit_is_called_once_after_the_outermost_block(in_block: bool) -> None:
    called: list[bool] = []

    def note() -> None:
        called.append(connection.in_atomic_block is in_block)

    with transaction.atomic():
        with transaction.atomic():
            transaction.on_commit(note)
        assert called == []
    transaction.on_commit(note)
    assert called == [True, True]


@BOTH
def test_what_waits_for_a_commit_is_dropped_when_the_block_is_rolled_back(in_block: bool) -> None:
    called: list[str] = []
    assert connection.in_atomic_block is in_block
    with transaction.atomic():
        transaction.on_commit(lambda: called.append("rolled back"))
        transaction.set_rollback(True)
    with transaction.atomic():
        transaction.on_commit(lambda: called.append("committed"))
    assert called == ["committed"]


@BOTH
def test_a_row_that_refers_to_nothing_fails_the_commit_and_is_rolled_back(in_block: bool) -> None:
    assert connection.in_atomic_block is in_block
    model = RegisteredModelFactory.create()
    before = model.project_id
    with pytest.raises(IntegrityError), transaction.atomic():
        RegisteredModel.objects.update(project=987_654_321)
    model.refresh_from_db()
    assert model.project_id == before
