"""Tags of models: set and removed in one transaction, and the filter by them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from django.db.models import Q

from ml_platform.errors import Conflict, Invalid
from ml_platform.guard import is_storable
from ml_platform.models import ModelTag, Operation, RegisteredModel
from ml_platform.models.database import atomic
from ml_platform.models.locking import lock_rows
from ml_platform.models.registry.model_tag import KEY, TAGS_MAX, VALUE_MAX
from ml_platform.models.states import EventKind, OperationKind
from ml_platform.services.operations.history import record
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.subjects import subject_of_lineage
from ml_platform.services.operations.workflow import Workflow
from ml_platform.text import counted

WORKFLOW = Workflow(
    slug="change-tags",
    kind=OperationKind.TAG,
    title="Change the tags of {}",
    past="changed the tags of {}",
)


def require_registered(model: RegisteredModel) -> None:
    """Check that a model can have tags: it has a version, or had one. So no orphan has any, and
    no cleanup deletes what a user wrote (law 9).

    :raises Conflict: it was never registered.
    """
    if not model.vertex_model_resource_name and model.next_version == 1:
        raise Conflict(
            f"{model} was never registered.",
            code="not_registered",
            advice="It can have tags once its first version is registered.",
        )


def set_tags(
    *,
    model: RegisteredModel,
    add: Mapping[str, str],
    remove: Collection[str] = (),
    actor: Actor,
    now: datetime,
) -> Operation:
    """Give a model these tags, in place of those with the same keys, and remove others.

    A key in both is added. What the model has already changes nothing and has no event of its own.

    :raises Invalid: a key or a value is not valid, or the model would have too many tags.
    :raises Conflict: the model was never registered.
    """
    _check(add, remove)
    with atomic():
        # Its tags change behind its own lock only.
        lock_rows(RegisteredModel.objects.filter(pk=model.pk))
        model = RegisteredModel.objects.get(pk=model.pk)
        require_registered(model)
        had = dict(model.tags.values_list("key", "value"))
        new = {key: value for key, value in add.items() if had.get(key) != value}
        gone = {key for key in remove if key in had and key not in add}
        if (count := len(had.keys() - gone | new.keys())) > TAGS_MAX:
            raise Invalid(
                f"{model} would have {count} tags; it can have {TAGS_MAX}.",
                code="too_many_tags",
                advice="Remove others in the same request.",
            )
        changed = new.keys() | gone
        model.tags.filter(key__in=changed).delete()
        ModelTag.objects.bulk_create(
            ModelTag(registered_model=model, key=key, value=value) for key, value in new.items()
        )
        return record(
            workflow=WORKFLOW,
            subject=subject_of_lineage(model),
            actor=actor,
            now=now,
            note=f"{counted(len(new), 'tag')} set, {len(gone)} removed.",
            event=EventKind.TAGS_CHANGED if changed else EventKind.OPERATION_SUCCEEDED,
            before={key: had[key] for key in sorted(changed & had.keys())},
            after=dict(sorted(new.items())),
        )


def has_tags(tags: Collection[str]) -> Q:
    """The condition on models to have all these tags: each a `key`, or a `key:value`."""
    condition = Q()
    for tag in tags:
        key, colon, value = tag.partition(":")
        rows = ModelTag.objects.filter(key=key, **({"value": value} if colon else {}))
        condition &= Q(pk__in=rows.values("registered_model"))
    return condition


def is_tag_filter(text: str) -> bool:
    """Whether a model could have this tag: a `key`, or a `key:value`."""
    key, _, value = text.partition(":")
    return bool(KEY.fullmatch(key)) and _is_value(value)


def _is_value(value: str) -> bool:
    return len(value) <= VALUE_MAX and is_storable(value)


def _check(add: Mapping[str, str], remove: Collection[str]) -> None:
    for key in (*add, *remove):
        if not KEY.fullmatch(key):
            raise Invalid(
                f"The key {key[:80]!r} is not valid.",
                code="bad_tag",
                advice="A key has 1 to 64 letters without accents, digits, _, ., / and -, and "
                "begins with a letter or a digit.",
            )
    for key, value in add.items():
        if not _is_value(value):
            raise Invalid(
                f"The value of {key} is not valid.",
                code="bad_tag",
                advice=f"A value is a text of up to {VALUE_MAX} characters; it may be empty.",
            )
