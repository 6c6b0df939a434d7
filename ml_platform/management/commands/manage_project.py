"""`manage.py manage_project`: list, create, rename, archive projects; add and remove members."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.table import ACTIONS
from ml_platform.errors import Conflict
from ml_platform.management.base import PlatformCommand
from ml_platform.models.archived_project import with_archived
from ml_platform.services.projects.changes import members_of
from ml_platform.services.projects.host_model import has_members

VERBS: dict[str, tuple[str, str, str]] = {
    "create": ("create-project", "", "name"),
    "rename": ("rename-project", "project", "name"),
    "add-member": ("add-member", "project", "user"),
    "remove-member": ("remove-member", "project", "user"),
    "archive": ("archive-project", "project", ""),
    "unarchive": ("unarchive-project", "project", ""),
}
"""For each verb its action, and the arguments that it takes: the project, then a value."""


class Command(PlatformCommand):
    help = "List, create, rename, archive or unarchive projects; add or remove their members."
    needs_cloud = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add a command for each verb."""
        verbs = parser.add_subparsers(dest="verb", required=True)
        listing = verbs.add_parser("list", help="list projects, archived ones among them")
        listing.set_defaults(project="")
        for verb, (_, project, value) in VERBS.items():
            one = verbs.add_parser(verb)
            if project:
                one.add_argument("project", help="its name or its id")
            if value:
                one.add_argument("value", metavar=value)

    def work(self, **options: Any) -> int:
        """List, or perform the action."""
        caller = Caller.system("manage_project")
        if options["verb"] == "list":
            for project in with_archived(caller.scope.projects, "pk"):
                self.stdout.write(_line(project))
            return 0
        name, has_project, value = VERBS[options["verb"]]
        key = _key_of(caller, options["project"]) if has_project else ""
        given = {value: options["value"]} if value else {"reason": ""}
        done = perform(ACTIONS[name], key, given, caller)
        key = key or done.pk
        self.stdout.write(_line(caller.find_project(key)))
        return 0


def _line(project: Any) -> str:
    members = ", ".join(members_of(project)) or "no members"
    told = [f"{project.pk}  {project}", *([members] if has_members() else [])]
    return "  ".join([*told, *(["archived"] if project.in_archive else [])])


def _key_of(caller: Caller, text: str) -> Any:
    """The key of the project of that name, or of that id.

    :raises NotFound: there is none.
    :raises Conflict: several have the name.
    """
    named = [project.pk for project in caller.scope.projects if str(project) == text]
    if len(named) > 1:
        raise Conflict(
            f"{len(named)} projects are called {text}.",
            code="name_not_unique",
            advice=f"Give one of the ids {', '.join(map(str, named))}.",
        )
    return named[0] if named else caller.find_project(text).pk
