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
from ml_platform.text import in_one_line

STAGE_MAX = 64
METRICS_MAX = 200
METRICS_BYTES = 256 << 10
TOLD = 5
"""Values of a metrics.json that are not kept of which the remark says the names."""
LARGEST = 1e300
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
    metrics: dict[str, float] = {}
    try:
        text = storage.read_text(path.bucket, f"{path.key}metrics.json", limit_bytes=METRICS_BYTES)
    except CloudAbsent:
        return Results(blessed=blessed, metrics={}, remark=remark)
    except CloudRejected as error:
        missed = f"Its metrics cannot be read: {error}"
    else:
        metrics, missed = metrics_of(text)
    return Results(blessed=blessed, metrics=metrics, remark=f"{remark} {missed}".strip())


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


def metrics_of(text: str) -> tuple[dict[str, float], str]:
    """The finite numbers of a metrics.json, and a sentence on what of it is not kept.

    Nested numbers have dotted names. A list of `{"name": "auc", "numberValue": 0.9}`, as KFP's
    metrics file has, counts as those names.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}, "Its metrics cannot be read: metrics.json is no JSON."
    metrics: dict[str, float] = {}
    missed: list[str] = []
    for name, value in _leaves(document):
        is_new = bool(name) and name not in metrics and len(metrics) < METRICS_MAX
        if is_new and name.isprintable() and _is_number(value):
            metrics[name] = value
        else:
            missed.append(_shown(name))
    return metrics, _said_of(missed)


def _shown(name: str) -> str:
    return in_one_line(name)[:80] or "a value without a name"


def _said_of(missed: Sequence[str]) -> str:
    if not missed:
        return ""
    more = f" and {len(missed) - TOLD} more" if len(missed) > TOLD else ""
    return (
        f"Not kept of its metrics: {', '.join(missed[:TOLD])}{more}. Up to {METRICS_MAX} finite "
        "numbers with a name are kept."
    )


def _leaves(document: Any) -> Iterator[tuple[str, Any]]:
    """Each value of a JSON document under its dotted name, in order; however deep it is."""
    left = [("", document)]
    while left:
        name, value = left.pop()
        inner = _inner(value)
        if inner is None:
            yield name, value
        else:
            below = f"{name}." if name else ""
            left += [(f"{below}{key}", item) for key, item in reversed(inner)]


def _inner(value: Any) -> list[tuple[str, Any]] | None:
    """What an object holds, or a list of named numbers; None for any other value."""
    if isinstance(value, dict):
        return list(value.items())
    if not (isinstance(value, list) and all(map(_is_named_number, value))):
        return None
    return [(item["name"], item["numberValue"]) for item in value]


def _is_named_number(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("name"), str) and "numberValue" in item


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < LARGEST and math.isfinite(value)
