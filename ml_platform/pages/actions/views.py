"""What a person may do from a page. Each is a POST with a CSRF token and ends in a redirect.

A script that asks for JSON gets the same answer as JSON.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from ml_platform.actions.action import Action, perform
from ml_platform.actions.runs import RERUN, SUBMIT
from ml_platform.actions.system import CHECK_HERE
from ml_platform.actions.table import ACTIONS
from ml_platform.errors import PlatformError
from ml_platform.pages.layout import failed, page
from ml_platform.pages.requests import begun, caller_of
from ml_platform.services.operations.store import Busy
from ml_platform.services.scheduling.schedules import Firing

from .reason_form import ask, refused

PAGES_WITH_TRUTH = ("start", "registry_health")


# A host's ATOMIC_REQUESTS would put the calls to Google into a transaction (law 6).
@transaction.non_atomic_requests
@require_http_methods(["GET", "HEAD", "POST"])
def check_now(request: HttpRequest) -> HttpResponse:
    """Read all planes now and go back to where it was asked for; a login leads there too.

    Only for administrators who see everything: a sweep reads what belongs to all projects.
    """
    asked_at = request.POST.get("back", "")
    name = asked_at if asked_at in PAGES_WITH_TRUTH else PAGES_WITH_TRUTH[0]
    back = reverse(f"ml_platform:{name}")
    if not request.user.is_authenticated:
        return redirect_to_login(back)
    if request.method != "POST":
        return redirect(back)
    try:
        perform(CHECK_HERE, "", None, caller_of(request))
    except Busy:
        return redirect(back)  # who is at it does the same
    except PlatformError as error:
        return failed(request, error, back=back)
    return redirect(back)


@transaction.non_atomic_requests
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def do(request: HttpRequest, verb: str, subject: str) -> HttpResponse:
    """Do what a button says, and show the operation that does it. To be read, it only asks."""
    action, caller = _action(verb), caller_of(request)
    found = action.find(caller, subject)
    if request.method != "POST":
        return ask(request, caller, action, found)
    try:
        result = perform(action, subject, request.POST, caller)
        if action is RERUN:
            result = perform(SUBMIT, result.pk, None, caller)
    except PlatformError as error:
        return refused(request, caller, action, found, error)
    return begun(request, result.operation if isinstance(result, Firing) else result)


@page
def check(request: HttpRequest, verb: str, subject: str) -> HttpResponse:
    """Whether a button may still be pressed, as JSON: `why` it may not, '' when it may."""
    action, caller = _action(verb), caller_of(request)
    refusal = action.refusal(caller, action.find(caller, subject))
    return JsonResponse(
        {"why": refusal.words if refusal else "", "code": refusal.code if refusal else ""}
    )


def _action(name: str) -> Action[Any, Any]:
    action = ACTIONS.get(name)
    if action is None or not action.on_page:
        raise Http404("There is no such action.")
    return action
