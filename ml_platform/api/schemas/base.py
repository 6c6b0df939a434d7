"""What several schemas share, and the construction of answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, TypeAlias, TypeVar

from django.db.models import Model
from django.http import HttpResponse
from django.urls import reverse
from ninja import Field, Schema
from pydantic import BeforeValidator, ConfigDict, create_model
from pydantic_core import PydanticCustomError

from ml_platform.actions.inputs import In, ProjectId, UserId
from ml_platform.errors import Invalid
from ml_platform.models import (
    TrainingRun,
)
from ml_platform.pagination import Order

T = TypeVar("T")

PAGE_EXAMPLE = {
    "total": 8,
    "total_is_exact": True,
    "page": 1,
    "pages": 8,
    "page_size": 1,
    "next_cursor": "WyItcmVnaXN0ZXJlZCIsICIyMDI2Il0",
}


PROJECT_EXAMPLE = {"id": 1, "name": "test_v1"}


FLAGS = {"true": True, "1": True, "false": False, "0": False}


def _flag(value: Any) -> bool:
    if value in FLAGS.values():
        return bool(value)
    if value not in FLAGS:
        raise PydanticCustomError("bool_parsing", "It is neither true nor false")
    return FLAGS[value]


Flag = Annotated[bool, BeforeValidator(_flag)]
"""A query parameter that is `true`, `false`, `1` or `0` and no other spelling."""


class Listing(In):
    """Which part of a list: a page by number, or by cursor what follows an earlier answer."""

    page: int | None = Field(None, ge=1, le=1_000_000, description="Page number, from 1.")
    page_size: int = Field(25, ge=1, le=100)
    cursor: str = Field("", max_length=1000, description="next_cursor of the previous answer.")
    project: ProjectId | None = Field(None, description="Only this project's.")

    def order(self, sorts: Mapping[str, str]) -> Order:
        """The order that `sort` asks for; `sorts` maps public names to columns."""
        sort: str = self.sort  # type: ignore[attr-defined]
        name = sort.removeprefix("-")
        return Order(sort, sorts[name], descending=sort != name)

    @property
    def place(self) -> Json:
        """The size and the place of the page, as `read_page` takes them.

        :raises Invalid: the query has both a page number and a cursor.
        """
        if self.cursor and self.page:
            raise Invalid(
                "A page and a cursor exclude each other.",
                code="page_and_cursor",
                advice="Use page to jump to a page, or cursor to continue.",
            )
        offset = ((self.page or 1) - 1) * self.page_size
        return {"size": self.page_size, "after": self.cursor, "offset": offset}


EXAMPLES: dict[str, Json] = {}
"""Examples for the contract by name of the schema; a test checks each against its schema."""


def example(value: Json) -> Callable[[type[T]], type[T]]:
    """Give a schema its example in the contract."""

    def register(schema: type[T]) -> type[T]:
        EXAMPLES[schema.__name__] = value
        return schema

    return register


class Out(Schema):
    """A part of an answer."""


class Problem(Out):
    """A failure (RFC 9457): what happened, and what to do about it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:ml-platform:busy",
                    "code": "busy",
                    "title": "Conflict",
                    "status": 409,
                    "detail": "chern_rank_v3 is held by Deploy chern_rank_v3 v1, which ana began "
                    "on 8 Feb 2026 at 12:00 UTC.",
                    "advice": "Wait for it to end, then try again.",
                    "operation": "0b6f8d0e-51a2-4c52-9d50-1c1a0b7c7c11",
                }
            ]
        }
    )
    type: str = Field(description="Stable: urn:ml-platform:<code>.")
    code: str
    title: str
    status: int
    detail: str = Field(description="What happened, in a sentence.")
    advice: str = Field(description="What to do about it; may be empty.")
    operation: str | None = Field(None, description="The operation that the error is about.")
    errors: list[FieldError] | None = None


class FieldError(Out):
    """One field that is not valid."""

    field: str
    message: str


class Pagination(Out):
    """The position in a list; `page` is null on a page read by cursor."""

    total: int
    total_is_exact: bool = Field(
        description="False for a search that finds more than `total`; `pages` counts that many."
    )
    page: int | None
    pages: int
    page_size: int
    next_cursor: str = Field(description="Give it as `cursor` for what follows; empty at the end.")


def list_of(name: str, item: type[Out], doc: str) -> type[Out]:
    """The answer of a list: a part of its items."""
    fields: Any = {"items": (list[item], ...), "pagination": (Pagination, ...)}  # type: ignore[valid-type]
    return create_model(name, __base__=Out, __doc__=doc, __module__=__name__, **fields)


class ProjectRef(Out):
    """A project by id and name."""

    id: ProjectId
    name: str


class ModelRef(Out):
    """A lineage by id and name."""

    id: int
    name: str


class RunRef(Out):
    """A run, and the version it is."""

    id: int
    version: int | None


class Person(Out):
    """The user or system that made a change."""

    id: UserId | None
    name: str


Json: TypeAlias = dict[str, Any]


def reply(body: Json, *, status: int = 200, location: str = "") -> HttpResponse:
    """The answer. Tests check it against the contract, so it is not validated again here."""
    response = reply_text(to_json(body))
    response.status_code = status
    if location:
        response["Location"] = location
    return response


def reply_text(body: str) -> HttpResponse:
    """The answer whose body is JSON already."""
    return HttpResponse(body, content_type="application/json")


def to_json(body: Json) -> str:
    """A part of an answer as JSON."""
    return json.dumps(body, separators=(",", ":"), default=plain)


def url_of(path: str) -> str:
    """The address of an API path, wherever the host has mounted the API."""
    return reverse("ml_platform:api", kwargs={"path": path})


def when(moment: datetime | None) -> str | None:
    """A time in UTC as RFC 3339 has it."""
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def plain(value: Any) -> Any:
    """Convert what JSON cannot express: times, choices and ids become texts."""
    return when(value) if isinstance(value, datetime) else str(value)


def project_json(project: Model) -> Json:
    """A project by id and name."""
    return {"id": project.pk, "name": str(project)}


def run_ref(run: TrainingRun | None) -> Json | None:
    return {"id": run.pk, "version": run.version} if run else None
