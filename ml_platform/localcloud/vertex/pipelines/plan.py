"""The plan of a pipeline job: its stages, its ending, the files it writes. Pure functions."""

from __future__ import annotations

import fnmatch
import graphlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

STAGES = ("ingest", "transform", "train", "evaluate", "push")
LABEL = "localcloud_outcome"
_UNBLESSED = frozenset({"not_blessed", "unblessed_pushed"})
_ENDING = re.compile(r"(success|not_blessed|unblessed_pushed|hang)|(fail|hang)[:_-]([\w.-]+)")


@dataclass(frozen=True)
class Ending:
    """success, not_blessed, unblessed_pushed, fail at a stage, or hang (there, else half way)."""

    kind: str
    stage: str = ""

    @classmethod
    def parse(cls, text: str) -> Ending:
        """A kind, two of which take a stage: `hang:train`, `fail:train`; ValueError otherwise.

        Labels cannot hold a colon: `fail_train` and `fail-train` mean the same.
        """
        match = _ENDING.fullmatch(text)
        if match is None:
            raise ValueError(
                f"{text!r} is not an ending: success, not_blessed, unblessed_pushed, hang or "
                "fail:<stage>."
            )
        return cls(match[1]) if match[1] else cls(match[2], match[3])


@dataclass(frozen=True)
class Order:
    """An ending for future jobs whose display name and labels match."""

    ending: Ending
    display_name: str = "*"
    labels: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    def fits(self, display_name: str, labels: Mapping[str, str]) -> bool:
        """Whether the order means such a job."""
        return fnmatch.fnmatchcase(display_name, self.display_name) and all(
            labels.get(key) == value for key, value in self.labels.items()
        )


@dataclass(frozen=True)
class Plan:
    """The remaining plan of a job; `due` is an ISO time, `step` the number of completed steps."""

    stages: tuple[str, ...]
    kind: str
    stop: int  # the stage at which it fails or hangs; len(stages) when at none
    seconds: float
    due: str
    metrics: dict[str, float] = field(default_factory=dict)
    step: int = 0

    @classmethod
    def load(cls, blob: bytes) -> Plan:
        """From the store."""
        values = json.loads(blob)
        return cls(**(values | {"stages": tuple(values["stages"])}))

    def dump(self) -> bytes:
        """For the store."""
        return json.dumps(asdict(self)).encode()


def stages_of(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The tasks of a compiled KFP template (`root.dag.tasks`), each behind what it depends on.

    Without any: the stages of a plain training pipeline. ValueError when they form a circle.
    """
    tasks = spec.get("root", {}).get("dag", {}).get("tasks", {})
    if not tasks:
        return STAGES
    graph = {name: sorted(tasks[name].get("dependentTasks", ())) for name in sorted(tasks)}
    try:
        return tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError:
        raise ValueError("The tasks of the pipeline depend on each other in a circle.") from None


def stop_at(ending: Ending, stages: tuple[str, ...]) -> int:
    """The index of the stage where it ends early; an unknown stage means the last one."""
    if ending.kind in {"success", *_UNBLESSED}:
        return len(stages)
    if not ending.stage:
        return len(stages) // 2
    named = [index for index, stage in enumerate(stages) if ending.stage in stage]
    return named[0] if named else len(stages) - 1


def metrics_of(job_id: str) -> dict[str, float]:
    """Plausible metrics, always the same for the same job."""
    digest = hashlib.sha256(job_id.encode()).digest()
    recall = 0.05 + digest[0] / 1000
    return {
        "loss": round(0.4 + digest[1] / 500, 4),
        "recall_at_5": round(recall, 4),
        "recall_at_10": round(recall * 1.4, 4),
        "recall_at_50": round(recall * 1.9, 4),
        "recall_at_100": round(recall * 2.4, 4),
    }


def files_after(index: int, plan: Plan, job_id: str) -> dict[str, bytes]:
    """What the stage of that index leaves: evaluators the verdict, pushers the model.

    Without a stage of that name, the last one does it. `not_blessed` does not push.
    """
    blessed = plan.kind not in _UNBLESSED
    files: dict[str, bytes] = {}
    if index == _stage_called("eval", plan.stages):
        files |= evaluation_files(plan.metrics, blessed=blessed)
    if plan.kind != "not_blessed" and index == _stage_called("push", plan.stages):
        files |= pushed_files(job_id)
    return files


def _stage_called(part: str, stages: tuple[str, ...]) -> int:
    called = [index for index, stage in enumerate(stages) if part in stage.lower()]
    return called[0] if called else len(stages) - 1


def evaluation_files(metrics: Mapping[str, float], *, blessed: bool) -> dict[str, bytes]:
    """The evaluator's files: TFX's blessing marker is an empty file."""
    marker = "BLESSED" if blessed else "NOT_BLESSED"
    return {
        f"evaluator/{marker}": b"",
        "metrics.json": json.dumps(metrics, sort_keys=True).encode(),
    }


def pushed_files(job_id: str) -> dict[str, bytes]:
    """A SavedModel's tree."""
    return {
        "pushed_model/1/saved_model.pb": f"saved model of {job_id}".encode(),
        "pushed_model/1/variables/variables.index": b"index",
        "pushed_model/1/variables/variables.data-00000-of-00001": job_id.encode() * 64,
    }
