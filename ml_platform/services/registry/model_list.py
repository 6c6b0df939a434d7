"""The filters of the list of registered models, for pages and API alike, and its order by a
metric."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from hashlib import sha256
from typing import Any

from django.db.models import Exists, F, FilteredRelation, OuterRef, Q, QuerySet

from ml_platform.models import ModelMetric, RegisteredModel
from ml_platform.models.endpoints.serving_status import has_serving_status
from ml_platform.models.states import ServingStatus
from ml_platform.pagination import Order, Page, read_parts

from .registry_state import has_registry_answer
from .search import has_part
from .tags import has_tags


def model_filter(
    *,
    search: str = "",
    model_type: str | None = None,
    status: str | None = None,
    blessed: bool | None = None,
    registry_state: str | None = None,
    registry: str | None = None,
    unread: str = "",
    fresh_since: datetime | None = None,
    tags: Collection[str] = (),
) -> Q:
    """The condition on registered models; a filter that is empty does not apply.

    `registry_state` is the stored state; `registry` is the answer that follows from it; `unread` is
    why the newest sweep could not read Vertex AI, `fresh_since` before when an answer is too old.
    `tags` are keys, or `key:value`.
    """
    lookups = {
        "model_type": model_type or None,
        "latest_run__is_blessed": blessed,
        "registry_state": registry_state,
    }
    condition = has_part(search) & Q(
        **{name: value for name, value in lookups.items() if value is not None}
    )
    if status == ServingStatus.IDLE:
        condition &= has_serving_status(status)
    elif status:
        condition &= Q(listed__serving=status)
    if registry:
        condition &= has_registry_answer(registry, unread, fresh_since)
    return condition & has_tags(tags)


def read_by_metric(
    models: QuerySet[RegisteredModel], metric: str, *, descending: bool, **where: Any
) -> Page[int]:
    """A page of the ids of these models: those whose newest version has the metric by its value,
    models of one value by id, and after them all the others by id. At most three statements.

    `where` is the size and the place of the page, as `read_page` takes them.

    :raises BadCursor: the cursor does not belong to this list in this order.
    """
    name = f"{'-' * descending}{sha256(metric.encode()).hexdigest()[:16]}"
    # By a join of its own, so that the database may begin with the metrics or with the models.
    join = FilteredRelation("metrics", condition=Q(metrics__key=metric))
    found = models.alias(wanted=join).filter(wanted__value__isnull=False)
    found = found.annotate(metric=F("wanted__value"), owner=F("wanted__registered_model_id"))
    measured = ModelMetric.objects.filter(key=metric, registered_model=OuterRef("pk"))
    others = models.filter(~Exists(measured))
    page = read_parts(
        (
            (found.values("pk", "metric", "owner"), Order(name, "metric", descending, tie="owner")),
            (others.values("pk"), Order(f"{name} none", "pk", descending)),
        ),
        **where,
    )
    return Page([row["pk"] for row in page.rows], previous=page.previous, next=page.next)
