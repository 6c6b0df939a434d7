"""Our own Project in Django's admin, which makes its changes by our actions.

A host's own Project stays in the host's admin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.shortcuts import redirect

from ml_platform.errors import NotFound, PlatformError
from ml_platform.models import Project
from ml_platform.models.archived_project import with_archived

from .windows import Window, WindowAdmin, page_of

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from ml_platform.actions.caller import Caller

# The actions import most of the app, which a start of the host does not need.


class ProjectForm(forms.ModelForm):  # type: ignore[type-arg]
    """A name, and the members by what they log in with."""

    logins = forms.CharField(
        label="Members",
        required=False,
        help_text="The names that they log in with, one a line.",
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
    )

    class Meta:
        model = Project
        fields = ("name",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        from ml_platform.services.projects.changes import members_of

        self.before = members_of(self.instance) if self.instance.pk else []
        self.fields["logins"].initial = "\n".join(self.before)

    def clean_logins(self) -> list[str]:
        """The names, each of a user.

        :raises ValidationError: one is of none.
        """
        from ml_platform.services.projects.changes import find_user

        lines = [line.strip() for line in self.cleaned_data["logins"].splitlines()]
        names = list(dict.fromkeys(filter(None, lines)))
        for name in set(names) - set(self.before):
            try:
                find_user(name)
            except NotFound as error:
                raise forms.ValidationError(error.words) from error
        return names


class ProjectAdmin(WindowAdmin):
    """Projects: make and rename them, add and remove members, archive them."""

    window = Window((), page=page_of("training"))
    form = ProjectForm
    fields = ("name", "logins")
    list_display = ("name", "created_at", "in_archive", "our_page")
    search_fields = ("name",)
    ordering = ("name",)
    actions = ("archive", "unarchive")  # type: ignore[assignment]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Project]:
        """Projects, with whether they are archived."""
        return with_archived(super().get_queryset(request), "pk")

    @admin.display(description="Archived", boolean=True)
    def in_archive(self, obj: Any) -> bool:
        """Whether it is archived."""
        return bool(obj.in_archive)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Those who may create a project on our pages."""
        from ml_platform.services.access.rights import Right

        caller = _caller(request)
        return caller.has(Right.ADMINISTER) and caller.scope.everything

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The same."""
        return self.has_add_permission(request)

    def changeform_view(
        self, request: HttpRequest, *arguments: Any, **options: Any
    ) -> HttpResponse:
        """Answer what the state does not allow with a message; nothing of the form is kept."""
        try:
            return super().changeform_view(request, *arguments, **options)
        except PlatformError as error:
            self.message_user(request, error.words, messages.ERROR)
            return redirect(request.path)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Create or rename it."""
        from ml_platform.actions.action import perform
        from ml_platform.actions.projects import CREATE, RENAME

        named, caller = {"name": form.cleaned_data["name"]}, _caller(request)
        if not change:
            obj.pk = perform(CREATE, "", named, caller).pk
        elif "name" in form.changed_data:
            perform(RENAME, obj.pk, named, caller)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Add and remove members."""
        from ml_platform.actions.action import perform
        from ml_platform.actions.projects import ADD_MEMBER, REMOVE_MEMBER

        caller, wanted = _caller(request), form.cleaned_data["logins"]
        for action, names in (
            (ADD_MEMBER, [name for name in wanted if name not in form.before]),
            (REMOVE_MEMBER, [name for name in form.before if name not in wanted]),
        ):
            for name in names:
                perform(action, form.instance.pk, {"user": name}, caller)

    @admin.action(description="Archive", permissions=["change"])
    def archive(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        """Let nothing new begin in these projects."""
        self._move("archive-project", request, queryset)

    @admin.action(description="Unarchive", permissions=["change"])
    def unarchive(self, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        """Take these projects up again."""
        self._move("unarchive-project", request, queryset)

    def _move(self, name: str, request: HttpRequest, queryset: QuerySet[Project]) -> None:
        from ml_platform.actions.action import perform
        from ml_platform.actions.table import ACTIONS

        caller = _caller(request)
        for project in queryset:
            try:
                perform(ACTIONS[name], project.pk, {"reason": ""}, caller)
            except PlatformError as error:  # it concerns this project alone (law 14)
                self.message_user(request, f"{project}: {error.words}", messages.ERROR)


def _caller(request: HttpRequest) -> Caller:
    from ml_platform.actions.caller import Caller

    return Caller.of(request.user, origin="page")


if not Project._meta.swapped:  # noqa: SLF001 - Django's documented name
    admin.site.register(Project, ProjectAdmin)
