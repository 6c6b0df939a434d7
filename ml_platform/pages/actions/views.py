"""What a person may do from a page. Each is a POST with a CSRF token and ends in a redirect.

A script that asks for JSON gets the same answer as JSON.
"""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods

from ml_platform.errors import PlatformError
from ml_platform.models import Operation
from ml_platform.models.clock import database_now
from ml_platform.pages.common.verb import ActionRequest, Verb
from ml_platform.pages.layout import page, render_error, status_of, url_of_holder
from ml_platform.services.access.rights import RightMissing, require_right
from ml_platform.services.access.scope import scope_of
from ml_platform.services.operations.store import Actor, Busy
from ml_platform.services.sweeps.operation import check_registry_here

from .reason_form import ask, page_about
from .verbs import VERBS

PAGES_WITH_TRUTH = ("start", "registry_health")
KEY_MAX = 64
REASON_MAX = 2000


# A host's ATOMIC_REQUESTS would put the calls to Google into a transaction (law 6).
@transaction.non_atomic_requests
@require_http_methods(["GET", "HEAD", "POST"])
def check_now(request: HttpRequest) -> HttpResponse:
    """Read all planes now and go back to where it was asked for; a login leads there too.

    Only for those who see everything: a sweep reads what belongs to all projects.
    """
    asked_at = request.POST.get("back", "")
    name = asked_at if asked_at in PAGES_WITH_TRUTH else PAGES_WITH_TRUTH[0]
    back = reverse(f"ml_platform:{name}")
    if not request.user.is_authenticated:
        return redirect_to_login(back)
    if request.method != "POST":
        return redirect(back)
    if not scope_of(request.user).everything:
        raise PermissionDenied("Only those who see all projects may have all planes read.")
    try:
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
    known = _verb(verb)
    found = known.find(scope_of(request.user), subject)
    if request.method != "POST":
        return ask(request, verb, found)
    try:
        require_right(request.user, known.right_of(found))
        operation = known.do(found, action_request_of(request))
    except PlatformError as error:
        return failed(request, error, back=page_about(found))
    return begun(request, operation)


@page
def check(request: HttpRequest, verb: str, subject: str) -> HttpResponse:
    """Whether a button may still be pressed, as JSON: `why` it may not, '' when it may."""
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


def actor_of(request: HttpRequest) -> Actor:
    """The person at the page, as operations name him."""
    return Actor(label=request.user.get_username(), origin="page", user_id=request.user.pk)


def action_request_of(request: HttpRequest) -> ActionRequest:
    """What the form says. A key is the user's own: another's equal one is another."""
    key = request.POST.get("key", "")[:KEY_MAX]
    return ActionRequest(
        actor=actor_of(request),
        now=timezone.now(),
        key=f"page:{request.user.pk}:{key}" if key else "",
        reason=request.POST.get("reason", "").strip()[:REASON_MAX],
        form=request.POST.dict(),
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


def failed(request: HttpRequest, error: PlatformError, *, back: str) -> HttpResponse:
    """Say what happened and what to do, on a page or to a script."""
    if not wants_json(request):
        return render_error(request, error, back=back)
    told = {"error": str(error), "advice": error.advice, "code": error.code}
    told["url"] = url_of_holder(error)
    return JsonResponse(told, status=status_of(error))


def wants_json(request: HttpRequest) -> bool:
    """Whether a script asks, and not a person's browser."""
    return request.headers.get("Accept", "") == "application/json"
