"""A verb opened as a page: the question for its reason, or the page of what it is about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from ml_platform.actions.action import Action
from ml_platform.actions.caller import Caller
from ml_platform.actions.findings import IGNORE
from ml_platform.actions.invalid import InvalidInput
from ml_platform.actions.models import SET_ALIASES
from ml_platform.actions.runs import REGISTER
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
from ml_platform.pages.common.buttons import alias_button
from ml_platform.pages.findings.finding import ignore_button
from ml_platform.pages.layout import failed, open_count, render_page, wants_json
from ml_platform.pages.model.rows import ReasonPage
from ml_platform.pages.run.buttons import register_button
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models.context import Button

ANCHORS: Mapping[type, str] = {
    TrainingRun: "run",
    DeployedEndpoint: "endpoint",
    TrainingSchedule: "schedule",
}


def page_about(subject: Any) -> str:
    """Where the thing that a verb is about can be read."""
    if isinstance(subject, Operation):
        return reverse("ml_platform:operation", args=[subject.pk])
    if isinstance(subject, Finding):
        return reverse("ml_platform:finding", args=[subject.pk])
    if isinstance(subject, TrainingRun) and subject.version and subject.registered_model_id:
        return f"{model_url(subject.registered_model_id)}#version-{subject.version}"
    if isinstance(subject, RegisteredModel):
        return model_url(subject.pk)
    training = reverse("ml_platform:training", args=[subject.project_id])
    return f"{training}#{ANCHORS[type(subject)]}-{subject.pk}"


FORMS: Mapping[str, Callable[[Caller, Any], Button | None]] = {
    IGNORE.name: ignore_button,
    REGISTER.name: register_button,
    SET_ALIASES.name: alias_button,
}
"""The actions that want a reason or other words, each with its button."""


def ask(
    request: HttpRequest, caller: Caller, action: Action[Any, Any], subject: Any
) -> HttpResponse:
    """Ask for the reason where the action wants one and may be done; else show its subject."""
    page = _page(caller, action, subject)
    if page is None:
        return redirect(page_about(subject))
    return render_page(request, "reason", page, findings_open=open_count(caller.scope))


def refused(
    request: HttpRequest,
    caller: Caller,
    action: Action[Any, Any],
    subject: Any,
    error: PlatformError,
) -> HttpResponse:
    """Say why it was not done: at its field where the form that was sent is a page of its own."""
    page = _page(caller, action, subject) if isinstance(error, Invalid) else None
    if page is None or wants_json(request):
        return failed(request, error, back=page_about(subject))
    wrong = error.errors if isinstance(error, InvalidInput) else ()
    told = " ".join(item["message"] for item in wrong) or error.words
    field = "reason" if page.aliases is None else "aliases"
    page = replace(page, error=told, given=request.POST.get(field, ""))
    shown = open_count(caller.scope)
    return render_page(request, "reason", page, findings_open=shown, status=status_of(error))


def _page(caller: Caller, action: Action[Any, Any], subject: Any) -> ReasonPage | None:
    button = FORMS[action.name](caller, subject) if action.name in FORMS else None
    if button is None or button.why or not button.reason:
        return None
    aliases = ", ".join(subject.aliases) if action is SET_ALIASES else None
    return ReasonPage(
        act=button,
        verb=button.label.rstrip("…"),
        back=page_about(subject),
        aliases=aliases,
        given=aliases or "",
    )
