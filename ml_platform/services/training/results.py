"""What a pipeline job shows about its run, and the metrics and verdict that it wrote to GCS."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
SHOWN = 5
"""Values of a metrics.json that are not stored and that the remark names; it counts the others."""
LARGEST = 1e300
_KINDS = {str: "a text", bool: "true or false", type(None): "null", list: "a list"}
_VERDICTS: Mapping[frozenset[str], str] = {
    frozenset({"BLESSED"}): "",
    frozenset({"NOT_BLESSED"}): "The evaluator did not bless the model.",
    frozenset(
        {"BLESSED", "NOT_BLESSED"}
    ): "The evaluator left both verdicts, so the model is not blessed.",
    frozenset(): "The evaluator left no verdict.",
}
"""By the files in the evaluator's folder, why the run is not blessed."""
_OVER = (TaskState.SUCCEEDED, TaskState.SKIPPED)
_EPOCH = datetime.min.replace(tzinfo=UTC)
# The stage of a run is a task in the first of these groups that is not empty.
_STAGE_OF = (
    (TaskState.FAILED,),
    (TaskState.RUNNING, TaskState.CANCEL_PENDING, TaskState.CANCELLING, TaskState.CANCELLED),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The results of a run that succeeded: why it is not blessed, '' if it is, and its metrics;
    `remark` says which of them were not kept, and why."""

    not_blessed: str
    metrics: dict[str, float]
    remark: str = ""


def stage_of(tasks: Sequence[RemoteTask]) -> str:
    """The task that a job runs, or in which it failed or was cancelled; '' if it is not known.

    It is the one that began last, because the tasks around it, such as the pipeline itself, began
    before it.
    """
    for states in _STAGE_OF:
        if there := [task for task in tasks if task.state in states]:
            return max(there, key=lambda task: task.start_time or _EPOCH).name[:STAGE_MAX]
    return ""


def percent_of(tasks: Sequence[RemoteTask]) -> int:
    """Per cent of the tasks that have ended; 100 only when the run itself succeeds."""
    if not tasks:
        return 0
    return min(99, 100 * sum(task.state in _OVER for task in tasks) // len(tasks))


def error_of(job: RemotePipelineJob) -> str:
    """Why a job failed, in Google's words."""
    texts = [job.error, *(task.error for task in job.tasks if task.state == TaskState.FAILED)]
    return next(filter(None, texts), "Vertex AI gave no reason.")


def read_results(prefix: str) -> Results:
    """Read the results of the run that writes to this `gs://bucket/prefix/`.

    :raises CloudUnavailable: Cloud Storage gave no usable answer, so the results are unknown.
    """
    path = ObjectPath.parse(prefix)
    pages = storage.list_objects(path.bucket, f"{path.key}evaluator/")
    not_blessed = compare_blessing(found.name.split("/")[-1] for page in pages for found in page)
    file = f"{path.key}metrics.json"
    try:
        metrics, remark = metrics_of(
            storage.read_text(path.bucket, file, limit_bytes=METRICS_BYTES)
        )
    except CloudAbsent:
        metrics, remark = {}, ""
    except CloudRejected as error:
        metrics, remark = {}, f"Its metrics cannot be read: {error}"
    return Results(not_blessed=not_blessed, metrics=metrics, remark=remark)


def compare_blessing(names: Iterable[str]) -> str:
    """Why the evaluator's files do not bless the run, '' if they do. Only a lone BLESSED does."""
    return _VERDICTS[frozenset(names) & {"BLESSED", "NOT_BLESSED"}]


class _Object(tuple[tuple[str, Any], ...]):
    """A JSON object with all its members: a name may be there twice."""


def metrics_of(text: str) -> tuple[dict[str, float], str]:
    """The finite numbers of a metrics.json, and a sentence about values that are not stored.

    Nested numbers get dotted names. A list of `{"name": "auc", "numberValue": 0.9}`, as in KFP's
    metrics file, is read as these names.
    """
    try:
        document = json.loads(text, object_pairs_hook=_Object)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        return {}, f"Its metrics cannot be read: metrics.json is not JSON ({where})."
    except (ValueError, RecursionError):
        return {}, "Its metrics cannot be read: metrics.json is too deep, or has too long a number."
    metrics: dict[str, float] = {}
    missed: list[str] = []
    for name, value in _leaves(document):
        if why := _flaw_of(name, value, metrics):
            missed.append(f"{in_one_line(name)[:80] or 'a value'} ({why})")
        else:
            metrics[name] = value
    return metrics, _remark_on(missed) if missed else ""


def _flaw_of(name: str, value: Any, stored: Mapping[str, float]) -> str:
    """Why a value is none of the metrics, '' if it is one."""
    if why := _why_no_number(value):
        return why
    if not name:
        return "without a name"
    if not name.isprintable():
        return "a name that cannot be shown"
    if name in stored:
        return "given twice"
    return f"more than {METRICS_MAX}" if len(stored) == METRICS_MAX else ""


def _why_no_number(value: Any) -> str:
    """Why a value is not a finite number, '' if it is."""
    if kind := _KINDS.get(type(value)):
        return kind
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    return "" if abs(value) < LARGEST else "too large"


def _remark_on(missed: Sequence[str]) -> str:
    more = f" and {len(missed) - SHOWN} more" if len(missed) > SHOWN else ""
    return f"Metrics that were not stored: {', '.join(missed[:SHOWN])}{more}."


def _leaves(document: Any) -> Iterator[tuple[str, Any]]:
    """Each value of a JSON document with its dotted name, in order and at any depth."""
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
    """The items of an object or of a list of named numbers; None for any other value."""
    if isinstance(value, _Object):
        return list(value)
    if not isinstance(value, list):
        return None
    items = [dict(item) if isinstance(item, _Object) else {} for item in value]
    if not all(isinstance(item.get("name"), str) and "numberValue" in item for item in items):
        return None
    return [(item["name"], item["numberValue"]) for item in items]
