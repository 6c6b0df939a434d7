"""Describe versions and services of ours whose labels are not ours any more: pure functions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ml_platform.errors import PlatformError
from ml_platform.models import TrainingRun
from ml_platform.services.findings.discrepancy import Discrepancy, pointer_text
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.findings.store import note_finding
from ml_platform.services.operations.subjects import version_name
from ml_platform.services.operations.work import Work
from ml_platform.services.ownership.identification import reason_not_ours
from ml_platform.services.ownership.labels import OWNER, RUN, other_owner
from ml_platform.services.registry.verification import ForeignVersion

RELABEL = (
    "Read the version again. If its creation time, its address and its files are those that we "
    "recorded, write our labels beside those of others. Aliases and files are not changed."
)


def compare_labels(
    run: TrainingRun,
    *,
    labelled_owner: str,
    theirs: str,
    labelled_run: str,
    made_at: datetime | None,
    artifact_uri: str,
    changed_at: datetime | None,
) -> Discrepancy:
    """Describe a version that is in Vertex AI where we recorded it, without our labels.

    `theirs` names the installation whose labels it has, '' for none.
    """
    why = reason_not_ours(run, theirs=theirs, made_at=made_at, artifact_uri=artifact_uri)
    return Discrepancy(
        kind=FindingKind.LABELS_CHANGED,
        subject=pointer_text(run),
        title=f"{version_name(run)} is in Vertex AI, but its labels are not ours any more",
        repair=_no_repair(why) if why else RELABEL,
        evidence={
            "model_name": run.model_name,
            "resource_name": pointer_text(run),
            "vertex_label_mlp_owner": labelled_owner,
            "vertex_label_mlp_run": labelled_run,
            "our_label_mlp_run": run.uid.hex,
            "vertex_created_at": _text(made_at),
            "registered_at": _text(run.registered_at),
            "artifact_uri": artifact_uri,
            **({"not_ours": why} if why else {}),
        },
        project_id=run.project_id,
        lineage_id=run.registered_model_id,
        run_id=None if why else run.pk,
        changed_at=changed_at,
    )


def note_foreign(work: Work[Any], error: PlatformError) -> None:
    """Note, in the transaction that ends an operation, the versions that it refused for their
    labels: a sweep sees only the default version of a model."""
    for run, model in error.seen if isinstance(error, ForeignVersion) else ():
        if run.vertex_model_resource_name:
            found = compare_labels(
                run,
                labelled_owner=model.labels.get(OWNER, ""),
                theirs=other_owner(model.labels),
                labelled_run=model.labels.get(RUN, ""),
                made_at=model.version_create_time or model.create_time,
                artifact_uri=model.artifact_uri,
                changed_at=model.update_time,
            )
            note_finding(discrepancy=found, now=work.clock(), operation=work.operation)


def _no_repair(why: str) -> str:
    text = f"No automatic repair, because {why}. If it is ours, put the labels back in Vertex AI."
    return text if len(text) <= 255 else f"{text[:254]}…"


def _text(moment: datetime | None) -> str:
    return moment.isoformat(timespec="seconds") if moment else ""
