"""What a page's POST says, and its answer: a redirect, or JSON for a script that asks for it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from ml_platform.actions.caller import Caller
from ml_platform.models import Operation
from ml_platform.pages.common.verb import ActionRequest
from ml_platform.pages.layout import wants_json
from ml_platform.services.access.rights import Right, has_right
from ml_platform.services.access.scope import scope_of
from ml_platform.services.operations.store import Actor

KEY_MAX = 64


def caller_of(request: HttpRequest) -> Caller:
    """The person at the page; the key of the form they sent makes a second press the same one."""
    key = request.POST.get("key", "")[:KEY_MAX]
    return Caller.of(request.user, origin="page", key=key)


REASON_MAX = 2000


def actor_of(request: HttpRequest) -> Actor:
    """The person at the page, as operations name them."""
    return Actor(label=request.user.get_username(), origin="page", user_id=request.user.pk)


def action_request_of(request: HttpRequest) -> ActionRequest:
    """What the form says. A key is the user's own: another's equal one is another."""
    key = request.POST.get("key", "")[:KEY_MAX]
    return ActionRequest(
        actor=actor_of(request),
        now=timezone.now(),
        key=f"page:{request.user.pk}:{key}" if key else "",
        reason=request.POST.get("reason", "").strip()[:REASON_MAX],
        administers=has_right(request.user, Right.ADMINISTER),
        form=request.POST.dict(),
        scope=scope_of(request.user),
    )


def begun(request: HttpRequest, operation: Operation | None) -> HttpResponse:
    """Show the operation, or the list of them when there is none of this request's own."""
    if operation is None:
        url, watch = reverse("ml_platform:operations"), ""
    else:
        url = reverse("ml_platform:operation", args=[operation.pk])
        watch = reverse("ml_platform:operation_status", args=[operation.pk])
    if wants_json(request):
        return JsonResponse({"url": url, "watch": watch}, status=202)
    return redirect(url)
