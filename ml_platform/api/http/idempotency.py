"""Idempotency-Key: a POST that is sent again is answered again, and done once.

The row of a key is bound to its request first. What the request changes and its answer are then
one transaction, so that whatever dies leaves both or neither, and nothing that must be waited for.
Only a request that asks Google cannot be one transaction (law 6): what it makes has a unique key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias, TypeVar

from django.db import IntegrityError, connection, models, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from ml_platform.api.schemas.queries import FLAGS
from ml_platform.errors import Conflict, Invalid
from ml_platform.models import IdempotentResponse
from ml_platform.models.clock import database_now
from ml_platform.models.locking import delete_rows
from ml_platform.services.operations.store import KeyReused

from .auth import Caller, identify

HEADER = "Idempotency-Key"
RING = "webhook/"
"""How the paths end where Cloud Scheduler rings: as no user, and once for each time it was due."""
KEPT = timedelta(days=7)
"""How long an answer is repeated; the operations of a key are known for longer."""
Answer: TypeAlias = Callable[[], HttpResponseBase]
F = TypeVar("F", bound=Callable[..., HttpResponse])


class StillRunning(Conflict):
    """The first request with the key holds its row: a transaction of ours, which is short."""

    code = "request_running"
    advice = "Send it again in a moment for its answer."
    retry_after = 1.0


def asks_google(view: F) -> F:
    """Mark a view that calls Google before it answers.

    Its request is no single transaction; whatever it makes is found again by the caller's key.
    """
    view.asks_google = True  # type: ignore[attr-defined]
    return view


def answer_once(request: HttpRequest, answer: Answer, *, whole: bool) -> HttpResponseBase:
    """Answer a request; one with a key that was answered before gets the same again.

    Only success is kept: what was refused did nothing, and may be sent again with its key. With
    `whole` the request is one transaction.

    :raises Invalid: the key is none.
    :raises Denied: the answer is kept, and the caller may not do that any more.
    :raises NotFound: the same, and they do not see it any more.
    :raises KeyReused: the key belongs to a different request.
    :raises StillRunning: the first request with this key has not ended.
    """
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST" or _does_nothing_twice(request):
        return answer()
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", key):
        raise Invalid(
            f"This {HEADER} cannot be used.",
            code="bad_idempotency_key",
            advice="Use 1 to 200 visible ASCII characters, for example a UUID.",
        )
    caller = identify(request)
    if caller is None:
        return answer()
    kept = _bind(caller.user.pk, key, _fingerprint(request))
    if kept.status is not None:
        return _again(kept, caller)
    if not whole:
        return _keep(kept, answer(), caller)
    with transaction.atomic():
        held = _hold(kept)
        return _again(held, caller) if held.status is not None else _keep(held, answer(), caller)


def _does_nothing_twice(request: HttpRequest) -> bool:
    """Whether it is a ring, which knows its own tick, or only looks at what would be done."""
    return request.path.endswith(RING) or FLAGS.get(request.GET.get("dry_run", ""), False)


def forget_old_answers() -> int:
    """Delete answers that are not repeated any more; returns how many."""
    return delete_rows(IdempotentResponse.objects.filter(created_at__lt=database_now() - KEPT))


def _fingerprint(request: HttpRequest) -> str:
    said = f"{request.method} {request.get_full_path()}\n".encode() + request.body
    return hashlib.sha256(said).hexdigest()


def _bind(user_id: int, key: str, fingerprint: str) -> IdempotentResponse:
    """The row of this key: new, answered, or of a request that has not been answered.

    :raises KeyReused: the key belongs to a different request.
    """
    try:
        with transaction.atomic():
            return IdempotentResponse.objects.create(
                user_id=user_id, key=key, request_digest=fingerprint, created_at=database_now()
            )
    except IntegrityError:
        kept = IdempotentResponse.objects.filter(user_id=user_id, key=key).first()
    if kept is None:
        return _bind(user_id, key, fingerprint)  # it was refused meanwhile
    if kept.request_digest != fingerprint:
        raise KeyReused(f"The idempotency key {key} was used for a different request.")
    return kept


def _hold(kept: IdempotentResponse) -> IdempotentResponse:
    """The row, held by this transaction; a database lets go of it when its holder dies.

    :raises StillRunning: another one holds it.
    """
    rows = IdempotentResponse.objects.filter(pk=kept.pk)
    if not connection.features.has_select_for_update:
        rows.update(key=models.F("key"))  # SQLite has one writer: a second one waits here
    held = rows.select_for_update(skip_locked=True).first()
    if held is None:
        raise StillRunning(f"The first request with the idempotency key {kept.key} is not over.")
    return held


def _keep(kept: IdempotentResponse, response: HttpResponseBase, caller: Caller) -> HttpResponseBase:
    """Keep an answer and give it; or the one that was kept meanwhile."""
    row = IdempotentResponse.objects.filter(pk=kept.pk, status=None)
    if response.status_code >= 300 or not isinstance(response, HttpResponse):
        row.delete()
        return response
    written = row.update(
        status=response.status_code,
        location=response.get("Location", ""),
        body=response.content.decode(),
        checked=caller.checked,
    )
    first = None if written else IdempotentResponse.objects.filter(pk=kept.pk).first()
    return response if first is None else _again(first, caller)


def _again(kept: IdempotentResponse, caller: Caller) -> HttpResponse:
    caller.check_again(kept.checked)
    response = HttpResponse(kept.body, status=kept.status, content_type="application/json")
    if kept.location:
        response["Location"] = kept.location
    response["Idempotent-Replayed"] = "true"
    return response
