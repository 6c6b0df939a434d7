"""Evaluations of model versions: imported, read and listed."""

from __future__ import annotations

from typing import Any

from google.cloud.aiplatform_v1.types import model_evaluation as gca_evaluation
from google.cloud.aiplatform_v1.types import model_service as wire_types

from ...core.core import Core
from ...core.errors import invalid, not_found
from ...core.lists.pages import page, start_of
from . import rules
from .rules import DEFAULT
from .store import EVALUATION, NAME, Registry

_NAME = f"{NAME}/evaluations/{{evaluation}}"
_Evaluation: Any = gca_evaluation.ModelEvaluation.meta.pb


class ModelEvaluations:
    """Each belongs to a version, its name to the model: `models/ID/evaluations/NUMBER`."""

    def __init__(self, core: Core, registry: Registry) -> None:
        self._core, self._store, self._registry = core, core.store, registry

    def import_model_evaluation(self, request: Any) -> Any:
        """Store an evaluation of the version that `parent` names, or of the default one."""
        pb_request = wire_types.ImportModelEvaluationRequest.pb(request)
        versioned = self._versioned(pb_request.parent)
        evaluation = pb_request.model_evaluation
        number = str(10**18 + self._store.next_id(EVALUATION))
        name, _, _ = versioned.rpartition("@")
        evaluation.name = f"{name}/evaluations/{number}"
        evaluation.create_time.FromDatetime(self._core.clock.now())
        self._store.put(EVALUATION, f"{versioned}/{number}", evaluation.SerializeToString())
        self._core.effects.record(evaluation.name)
        return evaluation

    def get_model_evaluation(self, request: Any) -> Any:
        """NOT_FOUND without it; the name does not say of which version it is."""
        parts = self._core.names.locate(request.name, _NAME)
        model, _, _ = parts["model"].partition("@")
        name = f"{self._core.names.numbered(parts)}/models/{model}"
        for stored, blob in self._store.list(EVALUATION, f"{name}@"):
            if stored.endswith(f"/{parts['evaluation']}"):
                return _Evaluation.FromString(blob)
        raise not_found("The ModelEvaluation does not exist.")

    def list_model_evaluations(self, request: Any) -> Any:
        """Those of the version that `parent` names, or of the default one."""
        pb_request = wire_types.ListModelEvaluationsRequest.pb(request)
        versioned = self._versioned(pb_request.parent)
        if pb_request.filter:
            raise invalid("filter", f"Invalid filter expression: {pb_request.filter!r}.")
        rows = (
            (seq, _Evaluation.FromString(blob))
            for seq, _, blob in self._store.rows(EVALUATION, f"{versioned}/", start_of(pb_request))
        )
        found, token = page(rows, pb_request)
        response = wire_types.ListModelEvaluationsResponse.meta.pb(next_page_token=token)
        paths = pb_request.read_mask.paths
        response.model_evaluations.extend(rules.masked(one, paths) for one in found)
        return response

    def _versioned(self, parent: str) -> str:
        name, wanted = self._registry.split(parent, "parent")
        version = self._registry.version(name, self._registry.need(name), wanted or DEFAULT)
        return self._registry.name_of(name, version.version_id)
