"""The actions of buttons and forms. Each action is a POST with a CSRF token and ends in a redirect.

A script that asks for JSON gets the same answer as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from ml_platform.actions.action import Action, perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.findings import IGNORE
from ml_platform.actions.invalid import InvalidInput
from ml_platform.actions.models import SET_ALIASES
from ml_platform.actions.runs import APPROVE, REGISTER, RERUN, SUBMIT, WITHDRAW
from ml_platform.actions.system import CHECK_HERE
from ml_platform.actions.table import ACTIONS
from ml_platform.errors import Invalid, PlatformError
from ml_platform.http_status import status_of
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Operation,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.pages.common.buttons import alias_button, approve_button, withdraw_button
from ml_platform.pages.findings.views import ignore_button
from ml_platform.pages.layout import (
    begun,
    caller_of,
    failed,
    form_page,
    page,
    render_page,
    wants_json,
)
from ml_platform.pages.model.metric_comparison import beside_serving
from ml_platform.pages.training.buttons import register_button
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models.context import Button, Values
from ml_platform.services.operations.store import Busy
from ml_platform.services.projects.host_model import project_class
from ml_platform.services.scheduling.schedules import Firing

PAGES_WITH_TRUTH = ("start", "registry_health")
PAGES: Mapping[type, str] = {
    Operation: "operation",
    Finding: "finding",
    RegisteredModel: "model",
}
"""The subjects that have a page of their own."""
ANCHORS: Mapping[type, str] = {
    TrainingRun: "run",
    DeployedEndpoint: "endpoint",
    TrainingSchedule: "schedule",
}
"""The subjects that the training page shows."""
FORMS: Mapping[str, Callable[[Caller, Any], Button | None]] = {
    IGNORE.name: ignore_button,
    REGISTER.name: register_button,
    SET_ALIASES.name: alias_button,
    APPROVE.name: approve_button,
    WITHDRAW.name: withdraw_button,
}
"""The actions that ask for a reason or for aliases, each with its button."""


@require_http_methods(["GET", "HEAD", "POST"])
def check_now(request: HttpRequest) -> HttpResponse:
    """Read all planes now and return to the page of the request; a login leads there too.

    Only for administrators who see everything: a sweep reads the planes of all projects.
    """
    asked_at = request.POST.get("back", "")
    name = asked_at if asked_at in PAGES_WITH_TRUTH else PAGES_WITH_TRUTH[0]
    back = reverse(f"ml_platform:{name}")
    if not request.user.is_authenticated:
        return redirect_to_login(back)
    if request.method == "POST":
        try:
            perform(CHECK_HERE, "", None, caller_of(request))
        except Busy:
            pass  # the check that is running reads the same
        except PlatformError as error:
            return failed(request, error, back=back)
    return redirect(back)


@form_page
def do(request: HttpRequest, verb: str, subject: str) -> HttpResponse:
    """Perform the action of a button on POST and show its operation; on GET only ask."""
    action, caller = _action(verb), caller_of(request)
    found = action.find(caller, subject)
    back = _page_about(found)
    if request.method != "POST":
        form = _form(caller, action, found)
        return redirect(back) if form is None else render_page(request, "reason", form)
    try:
        result = perform(action, subject, request.POST, caller)
        if action is RERUN:
            result = perform(SUBMIT, result.pk, None, caller)
    except PlatformError as error:
        form = _form(caller, action, found) if isinstance(error, Invalid) else None
        if form is None or wants_json(request):
            return failed(request, error, back=back)
        wrong = error.errors if isinstance(error, InvalidInput) else ()
        form["error"] = " ".join(item["message"] for item in wrong) or error.words
        form["given"] = request.POST.get("reason" if form["aliases"] is None else "aliases", "")
        return render_page(request, "reason", form, status=status_of(error))
    return begun(request, result.operation if isinstance(result, Firing) else result)


@page
def check(request: HttpRequest, verb: str, subject: str) -> HttpResponse:
    """Whether an action is still allowed, as JSON: `why` it is not, '' when it is."""
    action, caller = _action(verb), caller_of(request)
    refusal = action.refusal(caller, action.find(caller, subject))
    why, code = (refusal.words, refusal.code) if refusal else ("", "")
    return JsonResponse({"why": why, "code": code})


def _action(name: str) -> Action[Any, Any]:
    action = ACTIONS.get(name)
    if action is None or not action.on_page:
        raise Http404("There is no such action.")
    return action


def _page_about(subject: Any) -> str:
    """The page that shows the subject of an action."""
    if isinstance(subject, project_class()):
        return reverse("ml_platform:project", args=[subject.pk])
    if name := PAGES.get(type(subject)):
        return reverse(f"ml_platform:{name}", args=[subject.pk])
    if isinstance(subject, TrainingRun) and subject.version and subject.registered_model_id:
        return f"{model_url(subject.registered_model_id)}#version-{subject.version}"
    training = reverse("ml_platform:training", args=[subject.project_id])
    return f"{training}#{ANCHORS[type(subject)]}-{subject.pk}"


def _form(caller: Caller, action: Action[Any, Any], subject: Any) -> Values | None:
    """The form of an action that needs a reason or aliases, if the action is allowed."""
    button = FORMS[action.name](caller, subject) if action.name in FORMS else None
    if button is None or button.why or not button.reason:
        return None
    aliases = ", ".join(subject.aliases) if action is SET_ALIASES else None
    return {
        "act": button,
        "verb": button.label.rstrip("…"),
        "back": _page_about(subject),
        "aliases": aliases,  # None where the form asks for a reason
        "given": aliases or "",
        "comparison": beside_serving(subject) if action in (APPROVE, WITHDRAW) else None,
    }
