"""Where a list goes on: what stands in a cursor becomes a value of its column, or is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Field, Model

from .errors import Invalid
from .guard import BIGGEST, is_storable

LONGEST = 1000


class BadCursor(Invalid):
    """The cursor, or the key, is none that a row could have."""

    code = "bad_cursor"
    advice = "Begin at the first page."


def read_value(model: type[Model], column: str, text: str) -> Any:
    """The value of a model's column that was written into a cursor as text; `pk` is its key.

    :raises BadCursor: no row could have it.
    """
    meta: Any = model._meta  # noqa: SLF001 - Django's documented name
    field: Field[Any, Any] = meta.pk if column == "pk" else meta.get_field(column)
    if len(text) > LONGEST or not is_storable(text):
        raise BadCursor("The cursor is none of this list.")
    try:
        value = field.to_python(text)
        storable = _is_storable(value)
    except (ValueError, TypeError, OverflowError, ValidationError) as error:
        raise BadCursor("The cursor is none of this list.") from error
    if not storable:
        raise BadCursor("The cursor is none of this list.")
    return value


def _is_storable(value: Any) -> bool:
    if isinstance(value, datetime):
        return value.tzinfo is not None and value.astimezone(UTC) is not None
    return value is not None and not (isinstance(value, int) and abs(value) > BIGGEST)
