"""ListModels and ListModelVersions: a page at a time, from an index."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cmp_to_key, partial
from typing import Any

from google.cloud.aiplatform_v1.types import model_service as wire_types

from ...core.core import Core
from ...core.lists.filters import Filter, behind, compile_filter, compile_order
from ...core.lists.pages import cursor_of, cut
from . import rules
from .index import field_of, time_key
from .store import Registry

_FILTER = ("model", "display_name", "labels", "base_model_name")
_ORDER = ("display_name", "create_time", "update_time")
Order = list[tuple[str, bool]]


class ModelLists:
    """Lists over the registry. A page's token is the place of its last item in the order."""

    def __init__(self, core: Core, registry: Registry) -> None:
        self._core, self._registry = core, registry

    def list_models(self, request: Any) -> Any:
        """One entry for each model, with its default version."""
        pb_request = wire_types.ListModelsRequest.pb(request)
        place = self._registry.place(pb_request.parent)
        keep = compile_filter(pb_request.filter, _FILTER)
        order = compile_order(pb_request.order_by, _ORDER)
        cursor = cursor_of(pb_request, len(order))
        names, token = cut(self._models(place, keep, order, cursor), pb_request)
        models = self._registry.defaults(names)
        return _answer(wire_types.ListModelsResponse, pb_request, models, token)

    def list_model_versions(self, request: Any) -> Any:
        """Names include the version: `models/ID@VERSION`."""
        pb_request = wire_types.ListModelVersionsRequest.pb(request)
        name, _ = self._registry.split(pb_request.name)
        parent = self._registry.need(name)
        keep = compile_filter(pb_request.filter, ("labels",))
        order = compile_order(pb_request.order_by, ("create_time", "update_time"))
        cursor = cursor_of(pb_request, len(order))
        found: list[tuple[list[Any], Any]] = []
        for version in self._registry.versions(name):
            model = self._registry.render(name, parent, version, version.version_id)
            key = [*(_time(model, field) for field, _ in order), int(version.version_id)]
            if (cursor is None or behind(key, cursor, order)) and keep(partial(field_of, model)):
                found.append((key, model))
        found.sort(key=cmp_to_key(partial(_compared, order)))
        models, token = cut(found, pb_request)
        return _answer(wire_types.ListModelVersionsResponse, pb_request, models, token)

    def _models(
        self, place: str, keep: Filter, order: Order, cursor: list[Any] | None
    ) -> Iterator[tuple[list[Any], str]]:
        # A stale read sees other default versions than the index has: it looks at each model.
        stale = self._core.horizon() is not None
        for row in self._registry.index.scan(place, () if stale else keep.needed, order, cursor):
            fields = row.field
            if stale:
                model = self._registry.default(row.name)
                if model is None:
                    continue
                fields = partial(field_of, model)
            if keep(fields):
                yield row.key, row.name


def _answer(response_cls: Any, pb_request: Any, models: list[Any], token: str) -> Any:
    paths = pb_request.read_mask.paths
    response = response_cls.meta.pb(next_page_token=token)
    response.models.extend(rules.masked(model, paths) for model in models)
    return response


def _compared(order: Order, one: tuple[list[Any], Any], other: tuple[list[Any], Any]) -> int:
    return 1 if behind(one[0], other[0], order) else -1


def _time(version: Any, field: str) -> str:
    """A version is sorted by its own times."""
    return time_key(getattr(version, f"version_{field}"))
