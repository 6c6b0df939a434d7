"""The lineage graph: schedule, run, artifacts, version and endpoints, each with its state."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise, product

from django.urls import reverse

from ml_platform.actions.endpoints import Known
from ml_platform.models import DeployedEndpoint, Finding, Manifest, MirroredArtifacts, TrainingRun
from ml_platform.models.registry.manifest import DIFFERING, FilesState
from ml_platform.models.states import Registration
from ml_platform.models.sweeps.sweep import or_read
from ml_platform.pages.training.tables import deleted_badge, endpoint_badge, schedule_badge
from ml_platform.pages.view_models.badges import RUN_TONES, badge
from ml_platform.pages.view_models.context import Badge, Values
from ml_platform.pages.view_models.times import relative
from ml_platform.services.artifacts.manifest import difference_text
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.text import in_one_line

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
    serving_unread: str,
) -> Values:
    """Lay out the graph: the version's sources are left of it, its endpoints right."""
    serving = endpoints[:ENDPOINTS_SHOWN]
    rows = max(1, len(serving))
    height = rows * NODE_HEIGHT + (rows - 1) * GAP_Y
    middle = (height - NODE_HEIGHT) // 2
    training = reverse("ml_platform:training", args=[run.project_id])
    status = badge(run.get_status_display(), RUN_TONES[run.status])
    # Without the bucket, which is the same for all runs.
    folder = run.gcs_artifacts_path.rstrip("/").rpartition("/")[2] or "none"
    chain = [
        _node(0, middle, *_origin(run, training)),
        _node(1, middle, "Run", f"Run {run.pk}", status, f"{training}#run-{run.pk}"),
        _node(2, middle, "Artifacts", folder, artifacts) | {"name_max": FOLDER_MAX},
        _node(3, middle, "Version", f"v{run.version}", version_state),
    ]
    never = _node(4, middle, "Endpoint", "none", badge("Never deployed", "quiet"))
    served = [
        _endpoint(row * (NODE_HEIGHT + GAP_Y), endpoint, training, serving_unread)
        for row, endpoint in enumerate(serving)
    ] or [never]
    return {
        "version": f"v{run.version}",
        "width": 5 * NODE_WIDTH + 4 * GAP_X,
        "height": height,
        "node_width": NODE_WIDTH,
        "node_height": NODE_HEIGHT,
        "nodes": [*chain, *served],
        "arrows": [_arrow(a, b) for a, b in (*pairwise(chain), *product(chain[-1:], served))],
    }


def artifacts_badge(run: TrainingRun, known: Known, now: datetime) -> Badge:
    """Whether a sweep found the artifacts lately; what was not read is unknown, not missing."""
    if run.registration == Registration.DELETED:
        return badge("Deleted", "quiet")
    rows = MirroredArtifacts.objects.filter(prefix=run.gcs_artifacts_path)
    seen = rows.values_list(or_read("seen_at", "gcs"), flat=True).first()
    missing = Finding.objects.open().filter(run=run, kind=FindingKind.ARTIFACTS_MISSING)
    if missing.exists():
        return badge("Missing", "bad")
    if known.artifacts_unread or seen is None:
        why = known.artifacts_unread or "No sweep has found it yet."
        return badge("Unknown", "unknown", why)
    if other := files_badge(run):
        return other
    old = known.fresh_since is not None and seen < known.fresh_since
    return badge(f"Seen {relative(now - seen)}", "unknown" if old else "good")


def files_badge(run: TrainingRun) -> Badge | None:
    """How a version's files differ from its manifest; None if no sweep found that they do."""
    manifest: Manifest | None = getattr(run, "manifest", None)
    if manifest is None or manifest.state not in DIFFERING:
        return None
    label = f"Files {manifest.get_state_display().lower()}"
    if manifest.state == FilesState.MISSING:
        return badge(label, "bad", "Cloud Storage has no saved model in its folder.")
    return badge(label, "bad", in_one_line(difference_text(manifest.difference)))


def _origin(run: TrainingRun, training: str) -> tuple[str, str, Badge, str]:
    """What started the run: a schedule, or a user."""
    schedule = run.schedule
    if schedule is None:
        by = run.created_by.get_username() if run.created_by else "by hand"
        return "Started", by, badge("By hand", "quiet"), ""
    return "Schedule", schedule.name, schedule_badge(schedule), f"{training}#schedule-{schedule.pk}"


def _endpoint(y: int, endpoint: DeployedEndpoint, training: str, unread: str) -> Values:
    state = deleted_badge(endpoint) or endpoint_badge(endpoint, unread=unread)
    url = f"{training}#endpoint-{endpoint.pk}"
    return _node(4, y, "Endpoint", endpoint.service_name, state, url)


def _node(column: int, y: int, kind: str, name: str, state: Badge, url: str = "") -> Values:
    return {
        "kind": kind,
        "name": name,
        "name_max": NAME_MAX,
        "state": state,
        "url": url,
        "x": column * (NODE_WIDTH + GAP_X),
        "y": y,
    }


def _arrow(a: Values, b: Values) -> str:
    """The path data of an arrow from one node to another."""
    x1, y1 = a["x"] + NODE_WIDTH, a["y"] + NODE_HEIGHT // 2
    x2, y2 = b["x"] - 2, b["y"] + NODE_HEIGHT // 2
    bend = (x1 + x2) // 2
    return f"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2} m-6 -4 l6 4 l-6 4"
