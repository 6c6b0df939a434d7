"""Idempotency-Key: a POST that is sent again is answered again, and done once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from ml_platform.errors import Conflict, Invalid
from ml_platform.models import KeptAnswer
from ml_platform.models.clock import database_now
from ml_platform.models.locking import delete_rows
from ml_platform.services.operations.store import KeyReused

from .auth import Caller, identify

HEADER = "Idempotency-Key"
RING = "webhook/"
"""How the paths end where Cloud Scheduler rings: as no user, and once for each time it was due."""
KEPT = timedelta(days=7)
"""How long an answer is repeated; the operations of a key are known for longer."""
DIED_AFTER = timedelta(minutes=5)
"""A request that still runs after this has died; its next sender takes it over."""


def answer_once(request: HttpRequest, answer: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """Answer a request; one with a key that was answered before gets the same again.

    Only success is kept: what was refused did nothing, and may be sent again with its key.

    :raises Invalid: the key is none.
    :raises Denied: the answer is kept, and the caller may not do that any more.
    :raises NotFound: the same, and he does not see it any more.
    :raises KeyReused: the key belongs to a different request.
    :raises Conflict: the first request with this key is still running.
    """
    key = request.headers.get(HEADER)
    if key is None or request.method != "POST" or request.path.endswith(RING):
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
    kept = _claim(caller.user.pk, key, _fingerprint(request))
    if kept.status is not None:
        caller.check_again(kept.checked)
        return _again(kept)
    try:
        response = answer()
    except BaseException:
        kept.delete()
        raise
    _keep(kept, response, caller)
    return response


def forget_old_answers() -> int:
    """Delete answers that are not repeated any more; returns how many."""
    return delete_rows(KeptAnswer.objects.filter(created_at__lt=database_now() - KEPT))


def _fingerprint(request: HttpRequest) -> str:
    said = f"{request.method} {request.get_full_path()}\n".encode() + request.body
    return hashlib.sha256(said).hexdigest()


def _claim(user_id: int, key: str, fingerprint: str) -> KeptAnswer:
    """The record of this key: new, answered, or of a request that died."""
    now = database_now()
    try:
        with transaction.atomic():
            return KeptAnswer.objects.create(
                user_id=user_id, key=key, request_digest=fingerprint, created_at=now
            )
    except IntegrityError:
        kept = KeptAnswer.objects.filter(user_id=user_id, key=key).first()
    if kept is None:
        return _claim(user_id, key, fingerprint)  # its owner gave it up meanwhile
    if kept.request_digest != fingerprint:
        raise KeyReused(f"The idempotency key {key} was used for a different request.")
    if kept.status is not None:
        return kept
    died = KeptAnswer.objects.filter(
        pk=kept.pk, status=None, created_at=kept.created_at, created_at__lt=now - DIED_AFTER
    )
    if not died.update(created_at=now):
        raise Conflict(
            f"The first request with the idempotency key {key} is still running.",
            code="request_running",
            advice="Send it again in a moment for its answer.",
        )
    return kept


def _keep(kept: KeptAnswer, response: HttpResponseBase, caller: Caller) -> None:
    if response.status_code >= 300 or not isinstance(response, HttpResponse):
        kept.delete()
        return
    kept.status = response.status_code
    kept.location = response.get("Location", "")
    kept.body = response.content.decode()
    kept.checked = caller.checked
    kept.save(update_fields=["status", "location", "body", "checked"])


def _again(kept: KeptAnswer) -> HttpResponse:
    response = HttpResponse(kept.body, status=kept.status, content_type="application/json")
    if kept.location:
        response["Location"] = kept.location
    response["Idempotent-Replayed"] = "true"
    return response
