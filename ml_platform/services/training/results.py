"""What a pipeline job says of its run, and the metrics and the blessing it left in GCS."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ml_platform.cloud import storage
from ml_platform.cloud.names import ObjectPath
from ml_platform.cloud.types import RemotePipelineJob, RemoteTask, TaskState
from ml_platform.errors import CloudAbsent, CloudRejected

STAGE_MAX = 64
METRICS_MAX = 200
METRICS_BYTES = 256 << 10
BLESSED, NOT_BLESSED = "BLESSED", "NOT_BLESSED"
_OVER = (TaskState.SUCCEEDED, TaskState.SKIPPED)
_EPOCH = datetime.min.replace(tzinfo=UTC)
# Where a run stands, or stood when it ended: the first kind of task that there is.
_STAGE_OF = (
    (TaskState.FAILED,),
    (TaskState.RUNNING, TaskState.CANCEL_PENDING, TaskState.CANCELLING, TaskState.CANCELLED),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """What a run that succeeded left behind; `remark` says what is wrong with it."""

    blessed: bool
    metrics: dict[str, float]
    remark: str = ""


def stage_of(tasks: Sequence[RemoteTask]) -> str:
    """The task a job is at, or failed or was cancelled in; '' when that is not known.

    The one that began last: an enclosing task, the pipeline itself among them, begins before.
    """
    for states in _STAGE_OF:
        if there := [task for task in tasks if task.state in states]:
            return max(there, key=lambda task: task.start_time or _EPOCH).name[:STAGE_MAX]
    return ""


def percent_of(tasks: Sequence[RemoteTask]) -> int:
    """Per cent of the tasks that are over; 100 is left to the run's own success."""
    if not tasks:
        return 0
    return min(99, 100 * sum(task.state in _OVER for task in tasks) // len(tasks))


def error_of(job: RemotePipelineJob) -> str:
    """Why a job failed, in Google's words."""
    told = [job.error, *(task.error for task in job.tasks if task.state == TaskState.FAILED)]
    return next((text for text in told if text), "Vertex AI gave no reason.")


def read_results(prefix: str) -> Results:
    """Read what the run with this `gs://bucket/prefix/` left.

    :raises CloudUnavailable: Cloud Storage gave no usable answer, which says nothing of the run.
    """
    path = ObjectPath.parse(prefix)
    pages = storage.list_objects(path.bucket, f"{path.key}evaluator/")
    blessed, remark = compare_blessing(
        found.name.split("/")[-1] for page in pages for found in page
    )
    try:
        text = storage.read_text(path.bucket, f"{path.key}metrics.json", limit_bytes=METRICS_BYTES)
    except CloudAbsent:
        return Results(blessed=blessed, metrics={}, remark=remark)
    except CloudRejected as error:
        text, remark = "", f"{remark} Its metrics cannot be read: {error}".strip()
    return Results(blessed=blessed, metrics=metrics_of(text), remark=remark)


def compare_blessing(names: Iterable[str]) -> tuple[bool, str]:
    """Whether the evaluator's files bless the run, and why not; only a clear yes is one."""
    found = set(names) & {BLESSED, NOT_BLESSED}
    if found == {BLESSED}:
        return True, ""
    if found == {NOT_BLESSED}:
        return False, "The evaluator did not bless the model."
    if found:
        return False, "The evaluator left both verdicts, which blesses nothing."
    return False, "The evaluator left no verdict."


def metrics_of(text: str) -> dict[str, float]:
    """The finite numbers of a metrics.json, nested ones under dotted names; else {}."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    numbers = ((name, value) for name, value in _leaves(document) if name.isprintable())
    return dict(pair for pair, _ in zip(numbers, range(METRICS_MAX), strict=False))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    elif name and _is_number(value):
        yield name, value


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 and math.isfinite(value)
