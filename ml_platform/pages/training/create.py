"""`/projects/<id>/training/new-run/` and `new-schedule/`: forms that need no JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from ml_platform.actions import runs, schedules
from ml_platform.actions.action import Action, perform
from ml_platform.actions.models import find_run
from ml_platform.errors import PlatformError
from ml_platform.models import TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.pages.layout import begun, caller_of, failed, form_page, render_page
from ml_platform.pages.view_models.context import Link
from ml_platform.services.access.rights import Right, RightMissing

from .forms import RunForm, ScheduleForm, ServiceErrorForm, TimesForm

TOMORROW = timedelta(days=1)


@form_page
def new_run(request: HttpRequest, project_id: str) -> HttpResponse:
    """Create a run and submit it, or save it for later."""
    caller = caller_of(request)
    project = caller.find_project(project_id)
    form = RunForm(request.POST or None, initial=_as_the_newest(project))

    def make() -> HttpResponse:
        run = perform(runs.CREATE, project.pk, form.cleaned_data, caller)
        if "later" in request.POST:
            return redirect(f"{reverse('ml_platform:training', args=[project.pk])}#run-{run.pk}")
        return begun(request, perform(runs.SUBMIT, run.pk, None, caller))

    return _answer(request, project, "new_run", form, make)


@form_page
def new_schedule(request: HttpRequest, project_id: str) -> HttpResponse:
    """Create a schedule: from a run, or with its own pipeline and parameters."""
    caller = caller_of(request)
    project, asked = caller.find_project(project_id), request.GET.get("run", "")
    run = find_run(caller, asked) if asked else None
    if run and run.project_id != project.pk:
        raise Http404("There is no such training run.")
    first = {"day": database_now().date() + TOMORROW, "time": "04:00"}
    form: TimesForm
    if run:
        form = TimesForm(request.POST or None, initial=first)
    else:
        form = ScheduleForm(request.POST or None, initial=_as_the_newest(project) | first)

    def make() -> HttpResponse:
        given = {**form.cleaned_data, "first": form.first()}
        action: Action[Any, Any] = schedules.CREATE_FROM_RUN if run else schedules.CREATE
        return begun(request, perform(action, (run or project).pk, given, caller))

    of_run = f"run {run.pk} of {run.model_name}" if run else ""
    return _answer(request, project, "new_schedule", form, make, of_run)


def _answer(
    request: HttpRequest,
    project: Any,
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
        return failed(request, error, back=training_url)
    if form.is_valid():
        try:
            return make()
        except PlatformError as error:
            form.refuse(error)
    found = {"project": Link(text=str(project), url=training_url), "form": form, "of_run": of_run}
    return render_page(request, name, found, status=422 if form.is_bound else 200)


def _as_the_newest(project: Any) -> dict[str, Any]:
    """Defaults from the newest run of the project, because the next run is often similar."""
    names = ("model_name", "model_type", "template_uri", "parameters")
    runs_of = TrainingRun.objects.filter(project=project.pk).order_by("-created_at", "-pk")
    return runs_of.values(*names).first() or {}
