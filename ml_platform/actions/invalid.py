"""Messages for each invalid field of an input; they do not need to import pydantic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ml_platform.errors import Invalid

WORD, OTHER = "word", "other"
"""How pydantic reads a choice between a word and another value; not a part of a field's name."""


class InvalidInput(Invalid):
    """An input is not valid; `errors` has a message for each wrong field."""

    code = "invalid_request"
    advice = "The paths, their fields and examples are at /api/docs."

    def __init__(self, errors: list[dict[str, str]], *, advice: str = "") -> None:
        named = "; ".join(f"{item['field']}: {item['message']}" for item in errors[:3])
        super().__init__(f"The request is not valid. {named}"[:1000], advice=advice)
        self.errors = errors


WORDS: Mapping[str, str] = {
    "missing": "It is missing.",
    "extra_forbidden": "There is no such field.",
    "int_parsing": "It is not a whole number.",
    "int_type": "It is not a whole number.",
    "int_from_float": "It is not a whole number.",
    "int_parsing_size": "It is too large a number.",
    "bool_parsing": "It is neither true nor false.",
    "bool_type": "It is neither true nor false.",
    "string_type": "It is not a text.",
    "list_type": "It is not a list.",
    "dict_type": "It is not an object.",
    "model_type": "It is not an object.",
    "model_attributes_type": "It is not an object.",
    "enum": "It is not one of {expected}.",
    "literal_error": "It is not one of {expected}.",
    "string_too_long": "It is longer than {max_length} characters.",
    "string_empty": "It is empty.",
    "string_too_short": "It is shorter than {min_length} characters.",
    "too_long": "It has more than {max_length} items.",
    "too_short": "It has fewer than {min_length} items.",
    "greater_than_equal": "It is less than {ge}.",
    "less_than_equal": "It is more than {le}.",
    "datetime_from_date_parsing": "It is not a time such as 2026-03-01T02:00:00Z.",
    "datetime_parsing": "It is not a time such as 2026-03-01T02:00:00Z.",
    "datetime_type": "It is not a time such as 2026-03-01T02:00:00Z.",
    "uuid_parsing": "It is not a UUID.",
}
"""What is wrong with a field, by pydantic's name for it; pydantic has the words for the others."""


def field_errors(errors: Sequence[Any]) -> list[dict[str, str]]:
    """Each wrong field with a message, from the errors of pydantic."""
    return [{"field": _place(item["loc"]), "message": _words(item)} for item in errors]


def _words(item: Mapping[str, Any]) -> str:
    empty = item["type"] == "string_too_short" and item.get("input") == ""
    said = WORDS.get("string_empty" if empty else item["type"])
    return said.format(**item.get("ctx", {})) if said else f"{item['msg']}."


def _place(location: Sequence[Any]) -> str:
    """Where in the request, without what only says how it was read: the name of our function's
    argument, which ninja puts after `body`, and the kind that a choice was taken for."""
    named = [str(part) for part in location if part not in (WORD, OTHER)]
    return ".".join([named[0], *named[2:]] if named[:1] == ["body"] and named[1:] else named)
