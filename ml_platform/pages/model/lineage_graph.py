"""The lineage graph: schedule, run, artifacts, version and endpoints, each with its state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import pairwise

from django.urls import reverse

from ml_platform.models import DeployedEndpoint, Finding, MirroredArtifacts, TrainingRun
from ml_platform.models.states import Registration
from ml_platform.pages.training.tables import deleted_badge, endpoint_badge
from ml_platform.pages.view_models.badges import RUN_TONES, SCHEDULE_TONES, badge
from ml_platform.pages.view_models.context import Badge
from ml_platform.pages.view_models.times import relative
from ml_platform.services.findings.kinds import FindingKind

from .rows import Node, Picture

NODE_WIDTH, NODE_HEIGHT = 200, 66
GAP_X, GAP_Y = 40, 14
ENDPOINTS_SHOWN = 4
NAME_MAX = 22
FOLDER_MAX = 17


def draw(
    run: TrainingRun,
    endpoints: Sequence[DeployedEndpoint],
    *,
    version_state: Badge,
    artifacts: Badge,
) -> Picture:
    """Lay out the graph: what the version was made from is left of it, its endpoints are right."""
    serving = list(endpoints[:ENDPOINTS_SHOWN])
    rows = max(1, len(serving))
    height = rows * NODE_HEIGHT + (rows - 1) * GAP_Y
    middle = (height - NODE_HEIGHT) // 2
    training = reverse("ml_platform:training", args=[run.project_id])
    chain = (
        _schedule(run, training),
        _node("Run", f"Run {run.pk}", _run_badge(run), f"{training}#run-{run.pk}"),
        _node("Artifacts", _folder(run.gcs_artifacts_path), artifacts, ""),
        _node("Version", f"v{run.version}", version_state, ""),
    )
    nodes = [_place(node, x, middle) for x, node in enumerate(chain)]
    served = [
        _place(
            _node(
                "Endpoint",
                endpoint.service_name,
                deleted_badge(endpoint) or endpoint_badge(endpoint),
                f"{training}#endpoint-{endpoint.pk}",
            ),
            len(chain),
            y * (NODE_HEIGHT + GAP_Y),
        )
        for y, endpoint in enumerate(serving)
    ] or [_place(_node("Endpoint", "none", badge("Never deployed", "quiet"), ""), 4, middle)]
    arrows = [_arrow(a, b) for a, b in pairwise(nodes)]
    arrows += [_arrow(nodes[-1], endpoint) for endpoint in served]
    return Picture(
        version=f"v{run.version}",
        width=5 * NODE_WIDTH + 4 * GAP_X,
        height=height,
        node_width=NODE_WIDTH,
        node_height=NODE_HEIGHT,
        nodes=(*nodes, *served),
        arrows=tuple(arrows),
    )


def artifacts_badge(run: TrainingRun, unread: str, now: datetime) -> Badge:
    """Whether a sweep found the artifacts in Cloud Storage; unread is unknown, not missing."""
    if run.registration == Registration.DELETED:
        return badge("Deleted", "quiet")
    seen = MirroredArtifacts.objects.filter(prefix=run.gcs_artifacts_path).first()
    missing = Finding.objects.open().filter(run=run, kind=FindingKind.ARTIFACTS_MISSING)
    if missing.exists():
        return badge("Missing", "bad")
    if unread or seen is None:
        return badge("Unknown", "unknown", unread or "No sweep has found it yet.")
    return badge(f"Seen {relative(now - seen.seen_at)}", "good")


def _run_badge(run: TrainingRun) -> Badge:
    return badge(run.get_status_display(), RUN_TONES[run.status])


def _schedule(run: TrainingRun, training: str) -> Node:
    if run.schedule is None:
        by = run.created_by.get_username() if run.created_by else "by hand"
        return _node("Started", by, badge("By hand", "quiet"), "")
    schedule = run.schedule
    state = badge(schedule.get_state_display(), SCHEDULE_TONES[schedule.state])
    return _node("Schedule", schedule.name, state, f"{training}#schedule-{schedule.pk}")


def _node(kind: str, name: str, state: Badge, url: str) -> Node:
    return Node(
        kind=kind,
        name=_short(name),
        state=state.label,
        tone=state.tone,
        icon=state.icon,
        url=url,
        x=0,
        y=0,
    )


def _folder(path: str) -> str:
    """The name of the run's folder, without the bucket, which is the same for all runs."""
    return _short(path.rstrip("/").rpartition("/")[2] or "none", FOLDER_MAX)


def _short(name: str, most: int = NAME_MAX) -> str:
    if len(name) <= most:
        return name
    head = (most - 1) // 2
    return f"{name[:head]}…{name[head + 1 - most :]}"


def _place(node: Node, column: int, y: int) -> Node:
    return replace(node, x=column * (NODE_WIDTH + GAP_X), y=y)


def _arrow(a: Node, b: Node) -> str:
    x1, y1 = a.x + NODE_WIDTH, a.y + NODE_HEIGHT // 2
    x2, y2 = b.x - 2, b.y + NODE_HEIGHT // 2
    bend = (x1 + x2) // 2
    line = f"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}"
    return f"{line} m-6 -4 l6 4 l-6 4"
