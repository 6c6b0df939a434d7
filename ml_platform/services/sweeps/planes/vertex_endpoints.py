"""Compare the mirror of Vertex AI's endpoints with our versions, a chunk of rows at a time."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from uuid import UUID

from django.db.models import Q

from ml_platform.cloud.names import ModelName
from ml_platform.conf import require_settings
from ml_platform.models import MirroredEndpoint, RegisteredModel, TrainingRun
from ml_platform.services.findings.comparisons.vertex_endpoints import (
    compare_deployment,
    deployment_subject,
)
from ml_platform.services.findings.discrepancy import pointer_text
from ml_platform.services.findings.exclusions import UNSTORED, WORKED_ON, Reading, Touched
from ml_platform.services.findings.model_rows import VERSION_COLUMNS
from ml_platform.services.mirror.vertex_endpoints import Deployment, deployments_of
from ml_platform.services.operations.store import lineage_key
from ml_platform.services.ownership.own_resources import OwnModels, own_models

from .models import Compared

UNTOLD = "Vertex AI does not say which version it is"
_MADE_BY_US = re.compile(r"mr-([0-9a-f]{32})-[0-9]+")


def compare_vertex_endpoints(reading: Reading) -> Iterator[Compared]:
    """Find versions of our models that an endpoint serves and that are not registered."""
    for chunk in reading.chunks(MirroredEndpoint.objects.all()):
        deployments = list(deployments_of(chunk))
        lineages = _lineages_of(deployments)
        own = own_models(lineages)
        runs = _runs_of(lineages)
        touched = reading.touched()
        result = Compared([], [])
        for one in deployments:
            lineage = _owner_of(one, lineages, own)
            if lineage is None:
                continue
            if why := _why_not(one, lineage, reading, touched):
                what = f"{lineage.model_name} at {one.endpoint}"
                result.leave_out(deployment_subject(one), what, why, lineage.project_id)
                continue
            run = runs.get((lineage.pk, one.model.model_id, one.version))
            if found := compare_deployment(one, lineage, run):
                result.found.append(found)
        yield result


def _owner_of(
    deployment: Deployment, lineages: dict[int, RegisteredModel], own: dict[int, OwnModels]
) -> RegisteredModel | None:
    """The lineage whose model is deployed there; None for a model of others."""
    held = (lineages[pk] for pk, models in own.items() if models.holds(deployment.model))
    return next(held, None)


def _why_not(
    deployment: Deployment, lineage: RegisteredModel, reading: Reading, touched: Touched
) -> str:
    """Return why a deployed version must not be compared, '' when it may be."""
    if deployment.endpoint.endpoint_id in reading.unstored["vertex_endpoints"]:
        return UNSTORED
    key = lineage_key(project_id=lineage.project_id, model_name=lineage.model_name)
    if key in touched.lineages:
        return WORKED_ON
    return "" if deployment.version.isdigit() else UNTOLD


def _lineages_of(deployments: Collection[Deployment]) -> dict[int, RegisteredModel]:
    """The lineages that may own these models: by the id that we make, or by a pointer to it."""
    made = (_MADE_BY_US.fullmatch(one.model.model_id) for one in deployments)
    uids = {UUID(match[1]) for match in made if match}
    pointed = TrainingRun.objects.filter(
        Q(vertex_model_resource_name__in=_names(one.model for one in deployments))
        | Q(last_vertex_version__in=_names(one.pointer for one in deployments))
    )
    rows = RegisteredModel.objects.filter(
        Q(uid__in=uids) | Q(pk__in=pointed.values("registered_model"))
    )
    return {row.pk: row for row in rows}


def _names(models: Iterable[ModelName]) -> set[str]:
    """Their names, also with the project's id, which our tables may have in place of its number."""
    ours = require_settings().PROJECT_ID
    return {str(name) for model in models for name in (model, replace(model, project=ours))}


def _runs_of(lineages: Collection[int]) -> dict[tuple[int, str, str], TrainingRun]:
    """The runs that are or were a version, by lineage, model id and version."""
    runs = TrainingRun.objects.filter(registered_model__in=lineages, version__isnull=False)
    found: dict[tuple[int, str, str], TrainingRun] = {}
    for run in runs.only(*VERSION_COLUMNS):
        points = bool(run.vertex_model_resource_name)
        pointer = pointer_text(run) if points else run.last_vertex_version
        if run.registered_model_id is not None and pointer:
            model_id, _, version = pointer.rpartition("/")[2].partition("@")
            found[run.registered_model_id, model_id, version] = run
    return found
