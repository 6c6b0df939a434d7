"""What all pages share: the caller, the right to view, the frame, the answers and the errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from hashlib import sha256
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, JsonResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from ml_platform import kpis
from ml_platform.actions.caller import Caller
from ml_platform.actions.invalid import InvalidInput
from ml_platform.conf import OWN_BASE, get_settings
from ml_platform.errors import NotFound, PlatformError
from ml_platform.http_status import status_of
from ml_platform.models import Finding, Installation, Operation, snapshot
from ml_platform.models.prepared import Prepared
from ml_platform.pages.view_models.context import Link, Values
from ml_platform.services.access.rights import Right, has_right, require_right
from ml_platform.services.access.scope import scope_of
from ml_platform.services.mirror.brake import why_shrunk
from ml_platform.services.operations.store import Busy

KEY_MAX = 64
COUNTED = ("took", "clock")
SECTIONS: Mapping[str, str] = {
    "training": "projects",
    "project": "projects",
    "new_project": "projects",
    "model": "projects",
    "delete": "projects",
    "new_run": "projects",
    "new_schedule": "projects",
    "finding": "registry_health",
    "operation": "operations",
    "confirm_installation": "registry_health",
}
"""The menu entry of a page, where its name is another one."""
ASK = "Ask an administrator if you need it."
ANEW = "You logged in or out since it was shown. Go back, reload the page and try again."

View = Callable[..., HttpResponse]


def page(view: View) -> View:
    """A page for users who are logged in; not cached, because a stored copy may be outdated.

    All that it shows is of one snapshot of the database, which is closed before it is rendered.
    """

    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        with snapshot():
            response = view(request, *args, **kwargs)
        return _rendered(request, response)

    return login_required(require_safe(never_cache(shown)))


def form_page(view: View) -> View:
    """The same for a page with a form that is posted to it; it may write and call Google."""

    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return _rendered(request, view(request, *args, **kwargs))

    return login_required(require_http_methods(["GET", "HEAD", "POST"])(never_cache(shown)))


def _rendered(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Render it here, where a failure of the database still gets our page for it."""
    if not isinstance(response, TemplateResponse):
        return response
    template, context = str(response.template_name), response.context_data
    rendered = render(request, template, context, status=response.status_code)
    if tag := response.get("ETag"):
        rendered["ETag"] = tag
    return rendered


def caller_of(request: HttpRequest) -> Caller:
    """The user at the page; the key of the form they sent makes a second press the same one."""
    key = request.POST.get("key", "")[:KEY_MAX]
    return Caller.of(request.user, origin="page", key=key)


def begun(request: HttpRequest, operation: Operation | None) -> HttpResponse:
    """Show the operation, or the list of them when this request has none of its own."""
    url, watch = reverse("ml_platform:operations"), ""
    if operation is not None:
        url = reverse("ml_platform:operation", args=[operation.pk])
        watch = reverse("ml_platform:operation_status", args=[operation.pk])
    if wants_json(request):
        return JsonResponse({"url": url, "watch": watch}, status=202)
    return redirect(url)


def require_view(request: HttpRequest) -> None:
    """Let a user who is logged in read pages only if they have the right to view.

    :raises RightMissing: they lack it.
    """
    if request.user.is_authenticated:
        require_right(request.user, Right.VIEW)


def wants_json(request: HttpRequest) -> bool:
    """Whether the request comes from one of our scripts, not from a browser that shows a page."""
    return request.headers.get("Accept", "") == "application/json"


def failed(request: HttpRequest, error: PlatformError, *, back: str = "") -> HttpResponse:
    """An error as a page with the message and advice, or as JSON for a script."""
    if wants_json(request):
        return _error_json(request, error)
    found = {**_error_of(request, error), "back": back}
    return _error_page(request, found, status=status_of(error))


def bare(request: HttpRequest, error: PlatformError) -> HttpResponse:
    """An error page that needs neither the database nor the base template of the host."""
    if wants_json(request):
        return _error_json(request, error)
    content = render_to_string("ml_platform/bare.html", {"page": _error_of(request, error)})
    return HttpResponse(content, status=status_of(error))


def _error_json(request: HttpRequest, error: PlatformError) -> JsonResponse:
    fields = {"errors": error.errors} if isinstance(error, InvalidInput) else {}
    found = {"error": str(error), "advice": error.advice, "code": error.code, **fields}
    return JsonResponse({**found, "url": _url_of_holder(request, error)}, status=status_of(error))


def _error_of(request: HttpRequest, error: PlatformError) -> Values:
    holder = _url_of_holder(request, error)
    return {"message": str(error), "advice": error.advice, "code": error.code, "holder": holder}


def _url_of_holder(request: HttpRequest, error: PlatformError) -> str:
    """The page of the operation that blocks this one; '' if the user may not see it."""
    holder = error.holder if isinstance(error, Busy) else None
    if holder is None or not scope_of(request.user).sees(holder.project_id):
        return ""
    return reverse("ml_platform:operation", args=[holder.pk])


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The page for status 404."""
    reason = next(iter(exception.args), "")
    message = reason if isinstance(reason, str) and reason else "There is no such page."
    found = {"message": message, "advice": NotFound.advice, "code": "not_found"}
    return _error_page(request, found, status=404)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """The page for status 403."""
    found = {"message": str(exception) or "You may not do this.", "advice": ASK, "code": "denied"}
    return _error_page(request, found, status=403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """The page for a form with an outdated CSRF token."""
    found = {
        "message": "This form is outdated. Nothing was done.",
        "advice": ANEW,
        "code": "csrf",
    }
    return _error_page(request, found, status=403)


def _error_page(request: HttpRequest, found: Values, *, status: int) -> HttpResponse:
    known = request.user.is_authenticated and has_right(request.user, Right.VIEW)
    shown = None if known else 0
    shell = render_page(request, "error", found, findings_open=shown, status=status)
    return _rendered(request, shell)


def render_page(
    request: HttpRequest,
    name: str,
    found: Values,
    *,
    findings_open: int | None = None,
    status: int = 200,
) -> TemplateResponse:
    """A page in the base template of the host or in ours, which its decorator renders.

    `findings_open` is the count in the menu, where the page has read it already.
    """
    if findings_open is None:
        findings_open = sum(kpis.open_findings(scope_of(request.user).limit).values())
    base = get_settings().BASE_TEMPLATE
    frame = {
        "section": SECTIONS.get(name, name),
        "own_base": base == OWN_BASE,
        "user": request.user.get_username(),
        "findings_open": findings_open,
        **_warnings(request),
    }
    context = {"base_template": base, "frame": frame, "page": found}
    return TemplateResponse(request, f"ml_platform/{name}.html", context, status=status)


def fragment(request: HttpRequest, name: str, found: Values) -> HttpResponse:
    """A part of a page alone, for the script that polls it; 304 if it shows what it has shown.

    Its tag is of its `rows` and the rest that it shows, without what differs in every answer: keys
    of buttons, ages, and how long what goes on has taken, which the script counts itself.
    """
    shown = [
        {key: value for key, value in row.items() if not (row["since"] and key in COUNTED)}
        for row in found["rows"]
    ]
    tag = f'"{sha256(repr({**found, "rows": shown}).encode()).hexdigest()}"'
    if request.headers.get("If-None-Match") == tag:
        return HttpResponseNotModified(headers={"ETag": tag})
    context = {"part": f"ml_platform/_{name}.html", **found}
    return TemplateResponse(request, "ml_platform/fragment.html", context, headers={"ETag": tag})


def _warnings(request: HttpRequest) -> Values:
    """For those who may administer: why nothing is deleted at Google, and the first alarm about a
    plane; one statement. Before the first sweep there is no installation, and no alarm."""
    if not has_right(request.user, Right.ADMINISTER):
        return {"stopped": "", "shrunk": None}
    [(stopped, plane)] = _alarms() or [("", None)]
    url = reverse("ml_platform:registry_health")
    shrunk = Link(text=why_shrunk(plane), url=url) if plane else None
    return {"stopped": stopped, "shrunk": shrunk}


@Prepared
def _alarms() -> QuerySet[Installation, Any]:
    alarm = Subquery(Finding.objects.alarms().order_by("pk").values("subject")[:1])
    return Installation.objects.order_by("pk").values_list("stopped_reason", alarm)[:1]
