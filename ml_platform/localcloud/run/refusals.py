"""How Cloud Run words a refusal: the field, a colon, what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.rpc import error_details_pb2

from ..core.errors import CloudError
from ..core.lists.pages import page


def refuse(field: str, description: str) -> CloudError:
    """INVALID_ARGUMENT, the field in its details (hashicorp/terraform-provider-google#26877)."""
    violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=description)
    return CloudError(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"{field}: {description}",
        [error_details_pb2.BadRequest(field_violations=[violation])],
    )


def violation(field: str, description: str) -> CloudError:
    """The same for a bound that a request's field exceeds (goblet/goblet#287)."""
    return refuse(f"Violation in {field}", description)


def pages(numbered: Iterable[tuple[int, Any]], request: Any, limit: int) -> tuple[list[Any], str]:
    """One page; a size above `limit` is cut to it (google.aip.dev/158), a negative one refused."""
    kind = type(request).__name__
    if request.page_size < 0:
        raise violation(f"{kind}.page_size", "must be greater or equal than 0.")
    asked = type(request)(request)
    asked.page_size = min(asked.page_size, limit)
    try:
        return page(numbered, asked, limit=limit)
    except CloudError as error:
        raise violation(f"{kind}.page_token", "is not a token of this list.") from error
