"""What answers carry about operations: what was done, by whom, step by step."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ninja import Field

from .outputs import Out, Person, RunOut, list_of


class StepOut(Out):
    """One step of an operation."""

    step: str
    title: str
    status: str
    note: str
    started_at: datetime | None
    finished_at: datetime | None


class SubjectOut(Out):
    """What an operation is about; the thing itself may be gone."""

    type: str
    id: str
    name: str


class OperationError(Out):
    """How an operation failed, or what it waits for: it is tried again while it is running."""

    code: str
    detail: str
    advice: str


class OperationOut(Out):
    """A recorded, restartable change across planes."""

    id: str
    workflow: str
    kind: str
    status: Literal["pending", "running", "succeeded", "failed", "cancelled"]
    project: int | None
    subject: SubjectOut
    model: int | None
    actor: Person
    origin: str
    reason: str
    step: str
    steps: list[StepOut]
    remote_operation: str
    cancel_requested: bool
    error: OperationError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    url: str


class OperationDetail(OperationOut):
    """An operation with what its job said of each thing."""

    lines: list[str] = Field(description="The first hundred; the log has all.")
    lines_left_out: int


OperationsOut = list_of("OperationsOut", OperationOut, "A part of the list of operations.")


class TriggerOut(Out):
    """What came of asking for a run now."""

    message: str
    run: RunOut | None
    operation: OperationOut | None
