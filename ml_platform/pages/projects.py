"""`/new-project/` and `/projects/<id>/settings/`: a project's name, members and archive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from ml_platform.actions import projects as actions
from ml_platform.actions.action import Action, perform
from ml_platform.actions.caller import Caller
from ml_platform.errors import PlatformError
from ml_platform.models import Operation
from ml_platform.models.clock import database_now
from ml_platform.pages.common.buttons import button
from ml_platform.pages.layout import caller_of, failed, form_page, render_page
from ml_platform.pages.view_models.context import Button, Values
from ml_platform.pages.view_models.serialize import operation_row
from ml_platform.services.projects.changes import members_of, subject_of_project
from ml_platform.services.projects.host_model import decided_by, has_members

CHANGES_SHOWN = 20


class NameForm(forms.Form):
    """The name of a project."""

    name = forms.CharField(max_length=255, widget=forms.TextInput(attrs={"autocomplete": "off"}))


class MemberForm(forms.Form):
    """A user who becomes a member."""

    user = forms.CharField(
        max_length=254,
        label="User",
        help_text="The name that they log in with.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"}),
    )


FORMS: Mapping[str, tuple[type[forms.Form], Action[Any, Operation]]] = {
    "rename": (NameForm, actions.RENAME),
    "add": (MemberForm, actions.ADD_MEMBER),
}
"""The forms of the settings, by the name of the button that sends them."""


@form_page
def new_project(request: HttpRequest) -> HttpResponse:
    """Create a project, and show its settings."""
    caller = caller_of(request)
    start = f"{reverse('ml_platform:start')}#projects"
    if refusal := _refusal_to_create(caller):
        return failed(request, refusal, back=start)
    form = NameForm(request.POST or None)
    if form.is_valid():
        try:
            made = perform(actions.CREATE, "", form.cleaned_data, caller)
            return redirect("ml_platform:project", made.pk)
        except PlatformError as error:
            form.add_error("name", error.words)
    found = {"form": form, "back": start}
    return render_page(request, "new_project", found, status=422 if form.is_bound else 200)


def _refusal_to_create(caller: Caller) -> PlatformError | None:
    try:
        return actions.CREATE.refusal(caller, actions.CREATE.find(caller, ""))
    except PlatformError as error:
        return error


def may_create(caller: Caller) -> bool:
    """Whether a page offers the caller to create a project."""
    return _refusal_to_create(caller) is None


@form_page
def project(request: HttpRequest, project_id: str) -> HttpResponse:
    """Show the settings of a project; change its name or add a member when they are posted."""
    caller = caller_of(request)
    row = caller.find_project(project_id)
    shown = {
        "rename": NameForm(initial={"name": str(row)}, prefix="rename"),
        "add": MemberForm(prefix="add"),
    }
    sent = next((name for name in FORMS if name in request.POST), "")
    if sent:
        kind, action = FORMS[sent]
        form = shown[sent] = kind(request.POST, prefix=sent)
        if form.is_valid():
            try:
                perform(action, row.pk, form.cleaned_data, caller)
                return redirect("ml_platform:project", row.pk)
            except PlatformError as error:
                form.add_error(next(iter(form.fields)), error.words)
    found = _settings(caller, row, shown)
    return render_page(request, "project", found, status=422 if sent else 200)


def _settings(caller: Caller, row: Any, shown: dict[str, forms.Form]) -> Values:
    now, named = database_now(), str(row)
    return {
        "name": named,
        "training_url": reverse("ml_platform:training", args=[row.pk]),
        "archived": row.in_archive,
        "act": _archive_button(caller, row),
        "rename": shown["rename"],
        "rename_why": _why_not(caller, actions.RENAME, row),
        "add": shown["add"],
        "add_why": _why_not(caller, actions.ADD_MEMBER, row),
        "decided_by": "" if has_members() else decided_by(),
        "members": [
            {"name": login, "act": _remove_button(caller, row, login)}
            for login in (members_of(row) if has_members() else ())
        ],
        "changes": [operation_row(one, now) for one in _changes(row)],
    }


def _changes(row: Any) -> list[Operation]:
    """The newest changes of the project itself."""
    subject = subject_of_project(row)
    about = Operation.objects.filter(subject_type=subject.type, subject_id=subject.id)
    rows = about.filter(project=row.pk).select_related("project", "lineage")
    return list(rows.order_by("-created_at", "-pk")[:CHANGES_SHOWN])


def _why_not(caller: Caller, action: Action[Any, Any], row: Any) -> str:
    try:
        refusal = action.refusal(caller, action.find(caller, row.pk))
    except PlatformError as error:
        refusal = error
    return refusal.words if refusal else ""


def _remove_button(caller: Caller, row: Any, login: str) -> Button:
    return button(
        caller,
        actions.REMOVE_MEMBER,
        row,
        "Remove",
        name=f"Remove {login}",
        confirm=f"Remove {login} from {row}? They see it no more; what they did stays.",
        tone="danger",
        fields=(("user", login),),
    )


def _archive_button(caller: Caller, row: Any) -> Button:
    if row.in_archive:
        return button(
            caller, actions.UNARCHIVE, row, "Unarchive", name=f"Unarchive the project {row}"
        )
    return button(
        caller,
        actions.ARCHIVE,
        row,
        "Archive",
        name=f"Archive the project {row}",
        confirm=f"Archive {row}? Nothing new begins in it: no runs, no deploys; its schedules are "
        "paused. Its models stay registered and counted, its endpoints serve.",
        tone="danger",
    )
