"""What a page's POST says, and its answer: a redirect, or JSON for a script that asks for it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse

from ml_platform.actions.caller import Caller
from ml_platform.models import Operation
from ml_platform.pages.layout import wants_json

KEY_MAX = 64


def caller_of(request: HttpRequest) -> Caller:
    """The person at the page; the key of the form they sent makes a second press the same one."""
    key = request.POST.get("key", "")[:KEY_MAX]
    return Caller.of(request.user, origin="page", key=key)


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
