"""Idempotency-Key: a repeated POST is executed once and gets the same answer.

The key is first bound to its request. The changes of the request and its stored answer are then one
transaction, so that a crash leaves both or neither. A request that calls Google is not one
transaction, because no remote call runs inside one (law 6); what it creates has a unique key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias, TypeVar

from django.db import IntegrityError, connection, models, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from ml_platform.actions.caller import ALL, Caller
from ml_platform.api.schemas.queries import FLAGS
from ml_platform.errors import Conflict, Invalid, NotFound
from ml_platform.models import IdempotentResponse
from ml_platform.models.clock import database_now
from ml_platform.models.locking import delete_rows
from ml_platform.services.access.rights import Right
from ml_platform.services.operations.store import KeyReused

from .auth import identify

HEADER = "Idempotency-Key"
RING = "webhook/"
"""End of the webhooks' paths. Cloud Scheduler is no user; the time of a call is its key."""
KEPT = timedelta(days=7)
"""How long an answer is stored; operations keep their key for longer."""
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

    Only success is stored: a refused request changed nothing and may be sent again with its key.
    With `whole` the request is one transaction.

    :raises Invalid: the key is not valid.
    :raises Denied: there is a stored answer, but the caller no longer has the right.
    :raises NotFound: there is a stored answer, but the caller no longer sees its project.
    :raises KeyReused: the key was used for a different request.
    :raises StillRunning: the first request with this key has not ended.
    """
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST" or _does_nothing_twice(request):
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
    kept = _bind(caller.actor.user_id, key, _fingerprint(request))
    if kept.status is not None:
        return _again(kept, caller)
    if not whole:
        return _keep(kept, answer(), caller)
    with transaction.atomic():
        held = _hold(kept)
        return _again(held, caller) if held.status is not None else _keep(held, answer(), caller)


def _does_nothing_twice(request: HttpRequest) -> bool:
    """Whether it is a call of Cloud Scheduler, which has its own key, or a dry run."""
    return request.path.endswith(RING) or FLAGS.get(request.GET.get("dry_run", ""), False)


def forget_old_answers() -> int:
    """Delete the expired answers; returns how many."""
    return delete_rows(IdempotentResponse.objects.filter(created_at__lt=database_now() - KEPT))


def _fingerprint(request: HttpRequest) -> str:
    content = f"{request.method} {request.get_full_path()}\n".encode() + request.body
    return hashlib.sha256(content).hexdigest()


def _bind(user_id: Any, key: str, fingerprint: str) -> IdempotentResponse:
    """The row of this key, now created or there already.

    :raises KeyReused: the key was used for a different request.
    """
    try:
        with transaction.atomic():
            return IdempotentResponse.objects.create(
                user_id=user_id, key=key, request_digest=fingerprint, created_at=database_now()
            )
    except IntegrityError:
        kept = IdempotentResponse.objects.filter(user_id=user_id, key=key).first()
    if kept is None:
        return _bind(user_id, key, fingerprint)  # its request was refused meanwhile
    if kept.request_digest != fingerprint:
        raise KeyReused(f"The idempotency key {key} was used for a different request.")
    return kept


def _hold(kept: IdempotentResponse) -> IdempotentResponse:
    """The row, locked by this transaction; the database releases the lock after a crash.

    :raises StillRunning: another transaction holds the lock.
    """
    rows = IdempotentResponse.objects.filter(pk=kept.pk)
    if not connection.features.has_select_for_update:
        rows.update(key=models.F("key"))  # SQLite has one writer: another one waits here
    held = rows.select_for_update(skip_locked=True).first()
    if held is None:
        raise StillRunning(f"The first request with the idempotency key {kept.key} has not ended.")
    return held


def _keep(kept: IdempotentResponse, response: HttpResponseBase, caller: Caller) -> HttpResponseBase:
    """Store and return the answer; or return the one that was stored meanwhile."""
    row = IdempotentResponse.objects.filter(pk=kept.pk, status=None)
    if response.status_code >= 300 or not isinstance(response, HttpResponse):
        row.delete()
        return response
    written = row.update(
        status=response.status_code,
        location=response.get("Location", ""),
        body=response.content.decode(),
        checked={"rights": caller.needed_rights, "projects": caller.needed_projects},
    )
    first = None if written else IdempotentResponse.objects.filter(pk=kept.pk).first()
    return response if first is None else _again(first, caller)


def _again(kept: IdempotentResponse, caller: Caller) -> HttpResponse:
    _require_still(caller, kept.checked)
    response = HttpResponse(kept.body, status=kept.status, content_type="application/json")
    if kept.location:
        response["Location"] = kept.location
    response["Idempotent-Replayed"] = "true"
    return response


def _require_still(caller: Caller, checked: dict[str, list[str]]) -> None:
    """Let them have an answer again if they still may do and see what its request needed.

    :raises Denied: they may not.
    :raises NotFound: they do not see it any more.
    """
    for right in checked.get("rights", ()):
        caller.require(Right(right))
    needed = set(checked.get("projects", ()))
    if caller.scope.everything:
        return
    if ALL in needed or caller.scope.projects.filter(pk__in=needed).count() < len(needed):
        raise NotFound(
            "There is no such thing for you any more.",
            advice="Ask a member of the project, or of staff who may view every project.",
        )
