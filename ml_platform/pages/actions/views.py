"""What a person may do from a page. Each is a POST with a CSRF token and ends in a redirect.

A script that asks for JSON gets the same answer as JSON.
"""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from ml_platform.actions.action import perform
from ml_platform.actions.table import ACTIONS
from ml_platform.errors import PlatformError
from ml_platform.models.clock import database_now
from ml_platform.pages.common.verb import Verb
from ml_platform.pages.layout import failed, page
from ml_platform.pages.requests import action_request_of, actor_of, begun, caller_of
from ml_platform.services.access.rights import Right, RightMissing, require_right
from ml_platform.services.access.scope import require_everything, scope_of
from ml_platform.services.operations.store import Busy
from ml_platform.services.sweeps.operation import check_registry_here

from .reason_form import ask, ask_verb, page_about, refused
from .verbs import VERBS

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
        require_everything(request.user, Right.ADMINISTER)
        check_registry_here(actor=actor_of(request), clock=database_now)
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
    if verb not in ACTIONS:
        return _do_verb(request, verb, subject)
    action, caller = ACTIONS[verb], caller_of(request)
    found = action.find(caller, subject)
    if request.method != "POST":
        return ask(request, caller, action, found)
    try:
        operation = perform(action, subject, request.POST, caller)
    except PlatformError as error:
        return refused(request, caller, action, found, error)
    return begun(request, operation)


def _do_verb(request: HttpRequest, verb: str, subject: str) -> HttpResponse:
    known = _verb(verb)
    found = known.find(scope_of(request.user), subject)
    if request.method != "POST":
        return ask_verb(request, verb, found)
    try:
        require_right(request.user, known.right_of(found))
        operation = known.do(found, action_request_of(request))
    except PlatformError as error:
        return failed(request, error, back=page_about(found))
    return begun(request, operation)


@page
def check(request: HttpRequest, verb: str, subject: str) -> HttpResponse:
    """Whether a button may still be pressed, as JSON: `why` it may not, '' when it may."""
    if verb in ACTIONS:
        action, caller = ACTIONS[verb], caller_of(request)
        refusal = action.refusal(caller, action.find(caller, subject))
        told = {"why": refusal.words, "code": refusal.code} if refusal else {"why": "", "code": ""}
        return JsonResponse(told)
    known = _verb(verb)
    found = known.find(scope_of(request.user), subject)
    try:
        require_right(request.user, known.right_of(found))
    except RightMissing as error:
        return JsonResponse({"why": str(error)})
    return JsonResponse({"why": known.why_not(found)})


def _verb(name: str) -> Verb:
    if name not in VERBS:
        raise Http404("There is no such verb.")
    return VERBS[name]
