"""`/projects/<id>/training/new-run/` and `new-schedule/`: forms that need no JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth.decorators import login_required
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from ml_platform.actions import runs, schedules
from ml_platform.actions.action import perform
from ml_platform.actions.models import find_run
from ml_platform.errors import PlatformError
from ml_platform.models import TrainingRun
from ml_platform.pages.layout import open_count, render_error, render_page
from ml_platform.pages.requests import begun, caller_of
from ml_platform.pages.view_models.context import Link
from ml_platform.services.access.rights import Right, RightMissing

from .forms import RunForm, ScheduleForm, ServiceErrorForm, TimesForm

TOMORROW = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormPage:
    """A form and its project."""

    project: Link
    form: ServiceErrorForm
    of_run: str = ""


def _form(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    methods = require_http_methods(["GET", "HEAD", "POST"])
    wrapped: Callable[..., HttpResponse] = login_required(methods(never_cache(view)))
    return wrapped


@_form
def new_run(request: HttpRequest, project_id: str) -> HttpResponse:
    """Create a run and submit it, or save it for later."""
    project = caller_of(request).find_project(project_id)
    form = RunForm(request.POST or None, initial=_as_the_newest(project))
    return _answer(request, project, "new_run", form, lambda: _make_run(request, project, form))


@_form
def new_schedule(request: HttpRequest, project_id: str) -> HttpResponse:
    """Create a schedule: from a run, or with its own pipeline and parameters."""
    project, run = caller_of(request).find_project(project_id), _run_of(request)
    if run and run.project_id != project.pk:
        raise Http404("There is no such training run.")
    first = {"day": timezone.now().date() + TOMORROW, "time": "04:00"}
    form: TimesForm
    if run:
        form = TimesForm(request.POST or None, initial=_keyed(first))
    else:
        form = ScheduleForm(request.POST or None, initial=_as_the_newest(project) | first)
    of_run = f"run {run.pk} of {run.model_name}" if run else ""

    def make() -> HttpResponse:
        return _make_schedule(request, project, run, form)

    return _answer(request, project, "new_schedule", form, make, of_run)


def _answer(
    request: HttpRequest,
    project: Model,
    name: str,
    form: ServiceErrorForm,
    make: Callable[[], HttpResponse],
    of_run: str = "",
) -> HttpResponse:
    """Show the form; when it is posted, create what it describes or show its errors."""
    training_url = reverse("ml_platform:training", args=[project.pk])
    try:
        caller_of(request).require(Right.TRAIN)
    except RightMissing as error:
        return render_error(request, error, back=training_url)
    if form.is_valid():
        try:
            return make()
        except PlatformError as error:
            form.refuse(error)
    found = FormPage(project=Link(text=str(project), url=training_url), form=form, of_run=of_run)
    shown = open_count(caller_of(request).scope)
    status = 422 if form.is_bound else 200
    return render_page(request, name, found, findings_open=shown, status=status)


def _make_run(request: HttpRequest, project: Model, form: ServiceErrorForm) -> HttpResponse:
    caller = caller_of(request)
    run = perform(runs.CREATE, project.pk, form.cleaned_data, caller)
    if "later" in request.POST:
        return redirect(f"{reverse('ml_platform:training', args=[project.pk])}#run-{run.pk}")
    return begun(request, perform(runs.SUBMIT, run.pk, None, caller))


def _make_schedule(
    request: HttpRequest, project: Model, run: TrainingRun | None, form: TimesForm
) -> HttpResponse:
    caller, given = caller_of(request), {**form.cleaned_data, "first": form.first()}
    if run:
        return begun(request, perform(schedules.CREATE_FROM_RUN, run.pk, given, caller))
    return begun(request, perform(schedules.CREATE, project.pk, given, caller))


def _run_of(request: HttpRequest) -> TrainingRun | None:
    asked = request.GET.get("run", "")
    return find_run(caller_of(request), asked) if asked else None


def _as_the_newest(project: Model) -> dict[str, Any]:
    """Defaults from the newest run of the project, because the next run is often similar."""
    newest = TrainingRun.objects.filter(project=project.pk).order_by("-created_at", "-pk").first()
    if newest is None:
        return _keyed({})
    names = ("model_name", "model_type", "template_uri", "parameters")
    return _keyed({name: getattr(newest, name) for name in names})


def _keyed(initial: dict[str, Any]) -> dict[str, Any]:
    return {"key": uuid4().hex, **initial}
