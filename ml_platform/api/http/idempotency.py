"""Idempotency-Key: a repeated POST is executed once and gets the same answer.

The key is first bound to its request. The changes of the request and its stored answer are then one
transaction, so that a crash leaves both or neither. A request that calls Google is not one
transaction, because no remote call runs inside one (law 6); what it creates has a unique key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

from django.db import models
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from ml_platform.actions.caller import ALL, Caller
from ml_platform.api.schemas.base import FLAGS
from ml_platform.errors import Conflict, Invalid, NotFound
from ml_platform.models import IdempotentResponse
from ml_platform.models.clock import database_now
from ml_platform.models.database import atomic, write_connection
from ml_platform.models.locking import delete_rows
from ml_platform.services.access.rights import Right
from ml_platform.services.cleanup.history import old_answers
from ml_platform.services.operations.store import KeyReused

from .auth import identify

HEADER = "Idempotency-Key"
WEBHOOK = "webhook/"
"""End of the webhooks' paths. Cloud Scheduler is not a user; the time of a call is its key."""
Answer: TypeAlias = Callable[[], HttpResponseBase]
F = TypeVar("F", bound=Callable[..., HttpResponse])


class StillRunning(Conflict):
    """The transaction of the first request with the key has not ended."""

    code = "request_running"
    advice = "Send it again in a moment."
    retry_after = 1.0


def asks_google(view: F) -> F:
    """Mark a view that calls Google before it answers.

    Its request is not one transaction; what it creates is found again by the caller's key.
    """
    view.asks_google = True  # type: ignore[attr-defined]
    return view


def answer_once(request: HttpRequest, answer: Answer, *, whole: bool) -> HttpResponseBase:
    """Answer a request, or repeat the stored answer of its key.

    Only success is stored: a refused request made no change and may be sent again with its key.
    With `whole` the request is one transaction.

    :raises Invalid: the key is not valid.
    :raises Denied: there is a stored answer, but the caller no longer has the right.
    :raises NotFound: there is a stored answer, but the caller no longer sees its project.
    :raises KeyReused: the key was used for a different request.
    :raises StillRunning: the first request with this key has not ended.
    """
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST" or _needs_no_key(request):
        return answer()
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", key):
        raise Invalid(
            f"This {HEADER} is not valid.",
            code="bad_idempotency_key",
            advice="Use 1 to 200 visible ASCII characters, for example a UUID.",
        )
    caller = identify(request)
    if caller is None:
        return answer()
    content = f"{request.method} {request.get_full_path()}\n".encode() + request.body
    stored = _bind(caller.actor.user_id, key, hashlib.sha256(content).hexdigest())
    if stored.status is not None:
        return _again(stored, caller)
    if not whole:
        return _store(stored, answer(), caller)
    with atomic():
        row = _lock(stored)
        return _again(row, caller) if row.status is not None else _store(row, answer(), caller)


def _needs_no_key(request: HttpRequest) -> bool:
    """Whether it is a call of Cloud Scheduler, which has its own key, or a dry run."""
    return request.path.endswith(WEBHOOK) or FLAGS.get(request.GET.get("dry_run", ""), False)


def forget_old_answers() -> int:
    """Delete the expired answers; returns how many."""
    return delete_rows(old_answers(database_now()))


def _bind(user_id: Any, key: str, digest: str) -> IdempotentResponse:
    """The row of this key: a new one, or the one of an earlier request.

    :raises KeyReused: the key was used for a different request.
    """
    bound = IdempotentResponse(
        user_id=user_id, key=key, request_digest=digest, created_at=database_now()
    )
    # A repetition is no error, so the database's log has none.
    IdempotentResponse.objects.bulk_create([bound], ignore_conflicts=True)
    stored = IdempotentResponse.objects.filter(user_id=user_id, key=key).first()
    if stored is None:
        return _bind(user_id, key, digest)  # its request was refused meanwhile
    if stored.request_digest != digest:
        raise KeyReused(f"The idempotency key {key} was used for a different request.")
    return stored


def _lock(row: IdempotentResponse) -> IdempotentResponse:
    """The row, locked by this transaction; the database releases the lock after a crash.

    :raises StillRunning: another transaction holds the lock.
    """
    rows = IdempotentResponse.objects.filter(pk=row.pk)
    if not write_connection().features.has_select_for_update:
        rows.update(key=models.F("key"))  # SQLite allows one writer: another one waits here
    locked = rows.select_for_update(skip_locked=True).first()
    if locked is None:
        raise StillRunning(f"The first request with the idempotency key {row.key} has not ended.")
    return locked


def _store(row: IdempotentResponse, response: HttpResponseBase, caller: Caller) -> HttpResponseBase:
    """Store and return the answer; or return the one that was stored meanwhile."""
    unanswered = IdempotentResponse.objects.filter(pk=row.pk, status=None)
    if response.status_code >= 300 or not isinstance(response, HttpResponse):
        unanswered.delete()
        return response
    written = unanswered.update(
        status=response.status_code,
        location=response.get("Location", ""),
        body=response.content.decode(),
        checked={"rights": caller.needed_rights, "projects": caller.needed_projects},
    )
    first = None if written else IdempotentResponse.objects.filter(pk=row.pk).first()
    return response if first is None else _again(first, caller)


def _again(stored: IdempotentResponse, caller: Caller) -> HttpResponse:
    _require_still(caller, stored.checked)
    response = HttpResponse(stored.body, status=stored.status, content_type="application/json")
    if stored.location:
        response["Location"] = stored.location
    response["Idempotent-Replayed"] = "true"
    return response


def _require_still(caller: Caller, checked: dict[str, list[str]]) -> None:
    """Check that the caller still has the rights and sees the projects that the request needed.

    :raises Denied: they lack a right now.
    :raises NotFound: they do not see a project any more.
    """
    for right in checked.get("rights", ()):
        caller.require(Right(right))
    needed = set(checked.get("projects", ()))
    if caller.scope.everything:
        return
    if ALL in needed or caller.scope.projects.filter(pk__in=needed).count() < len(needed):
        raise NotFound(
            "The subject of this request no longer exists for you.",
            advice="Ask a member of the project, or of staff who may view every project.",
        )
