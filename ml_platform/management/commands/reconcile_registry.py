"""`manage.py reconcile_registry`: sweep, show the safe repairs, apply them, and sweep again."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Collection, Mapping
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Model
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.findings import ADOPT, DELETE_UNMANAGED, REPAIR
from ml_platform.actions.system import SWEEP
from ml_platform.errors import PlatformError
from ml_platform.management.base import PlatformCommand, add_project_option
from ml_platform.management.commands.audit_registry import require_any_plane
from ml_platform.management.report import (
    EXIT_CODES,
    SHOWN,
    make_console,
    print_counts,
    print_verdict,
)
from ml_platform.models import Finding, Operation
from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationStatus
from ml_platform.services.access.scope import find_named_project
from ml_platform.services.findings.kinds import KINDS, Kind, facts_of, worst_first
from ml_platform.services.registration.vertex_facts import proposed_name
from ml_platform.services.repairs.reconciliation import finish_operation, is_safe, repairs_of
from ml_platform.services.sweeps import audit
from ml_platform.services.sweeps.audit import AuditVerdict
from ml_platform.text import counted

UNMANAGED: Mapping[str, str] = {
    "adopt": "Adopt it into the project {project}.",
    "delete": "Delete it with all its versions from Vertex AI. Its files are not deleted.",
    "leave": "No change.",
}


class Command(PlatformCommand):
    help = (
        "Sweep, show the safe repairs, ask for confirmation, and apply them as operations. "
        "The exit code is that of audit_registry after the repairs."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add our options."""
        parser.add_argument("--dry-run", action="store_true", help="Change nothing.")
        parser.add_argument("--yes", action="store_true", help="Do not ask.")
        parser.add_argument(
            "--kind",
            action="append",
            choices=list(KINDS),
            help="Only these findings; may be given several times.",
        )
        parser.add_argument(
            "--unmanaged",
            choices=tuple(UNMANAGED),
            default="leave",
            help="What to do with models in Vertex AI that are not registered (default: leave).",
        )
        add_project_option(parser, "The project for --unmanaged adopt")
        parser.add_argument(
            "--name",
            action="append",
            metavar="SHOWN=NAME",
            help="The name that an adopted model gets, for the one that Vertex AI shows; without, "
            "it is proposed from that: lower case, with _ for what is not allowed.",
        )
        parser.add_argument(
            "--repair",
            choices=sorted({one.slug for kind in KINDS for one in kind.facts.alternatives}),
            help="This repair in place of the safe one, where a finding has it.",
        )

    def work(self, **options: Any) -> int:
        """Sweep, repair, and sweep again."""
        project = self._check(options)
        caller = Caller.system("reconcile_registry")
        console = make_console(self.stdout)
        done = perform(SWEEP, "", None, caller)
        require_any_plane(done)
        print_counts(console, done, None)
        wanted: list[int] = []
        unknown = audit.compare_sweep(done) == AuditVerdict.UNKNOWN
        if not unknown:
            wanted = self._plan(console, options, project, audit.unread_kinds(done))
        if wanted and not options["dry_run"]:
            if not options["yes"] and not self._confirmed(len(wanted)):
                console.print("Nothing was changed.")
                return EXIT_CODES[audit.compare_sweep(done)]
            self._repair(console, wanted, options, project, caller)
            done = perform(SWEEP, "", None, caller)
            print_counts(console, done, None)
        print_verdict(console, done, None)
        if unknown:
            console.print("No repair was started.")
        return EXIT_CODES[audit.compare_sweep(done)]

    def _check(self, options: dict[str, Any]) -> Model | None:
        """Reject invalid combinations of options before anything is read.

        :raises CommandError: with the options to give.
        """
        if (options["unmanaged"] == "adopt") != bool(options["project"]):
            raise CommandError("Give --unmanaged adopt and --project NAME together.")
        if wrong := [pair for pair in options["name"] or () if "=" not in pair]:
            raise CommandError(f"Give --name SHOWN=NAME, not {wrong[0]}.")
        if not (options["yes"] or options["dry_run"] or sys.stdin.isatty()):
            raise CommandError("There is no terminal to confirm on: give --yes or --dry-run.")
        return find_named_project(options["project"]) if options["project"] else None

    def _plan(
        self,
        console: Console,
        options: dict[str, Any],
        project: Model | None,
        unread: Collection[Kind],
    ) -> list[int]:
        """Print what would be done; returns the ids of the findings to repair. Those of a plane
        that is not believed stay."""
        kinds = [kind for kind in options["kind"] or KINDS if kind not in unread]
        rows = Finding.objects.open().filter(kind__in=kinds).order_by(worst_first(), "pk")
        wanted: list[int] = []
        for number, finding in enumerate(rows.iterator(), 1):
            kind, what = facts_of(finding), finding.repair
            done = bool(_chosen(finding, options["repair"]))
            if kind.needs_choice:
                done = options["unmanaged"] != "leave"
                what = UNMANAGED[options["unmanaged"]].format(project=project)
                if options["unmanaged"] == "adopt":
                    what = f"{what[:-1]} as {_name_for(finding, options)}."
            if done:
                wanted.append(finding.pk)
            if number <= SHOWN:
                console.print(f"{number}. [bold]{kind.label}[/]: {escape(finding.title)}")
                console.print(f"     {escape(what)}")
        console.print(f"{counted(len(wanted), 'finding')} to repair.")
        return wanted

    def _confirmed(self, number: int) -> bool:
        self.stdout.write(f"Repair {counted(number, 'finding')}? [y/N] ", ending="")
        self.stdout.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def _repair(
        self,
        console: Console,
        wanted: list[int],
        options: dict[str, Any],
        project: Model | None,
        caller: Caller,
    ) -> None:
        """Repair one after the other; a failure does not stop the others."""
        quiet = not console.is_terminal
        for pk in track(wanted, "Repairing", console=console, transient=True, disable=quiet):
            finding = Finding.objects.select_related("registered_model", "run").get(pk=pk)
            try:
                operation = finish_operation(
                    operation=_open(finding, options, project, caller), clock=database_now
                )
            except PlatformError as error:
                console.print(f"[red]refused[/] {escape(finding.title)}: {escape(str(error))}")
                continue
            _print_outcome(console, finding, operation)


def _chosen(finding: Finding, asked: str | None) -> str:
    """Return the name of the repair to make: the one asked for where it is possible, otherwise the
    safe one; '' for none."""
    possible = [repair.slug for repair in repairs_of(finding)]
    if asked in possible:
        return asked
    safe = facts_of(finding).repair
    return safe.slug if safe and is_safe(finding) else ""


def _name_for(finding: Finding, options: dict[str, Any]) -> str:
    """Return the name that an adopted model gets: as given, or proposed."""
    shown = str(finding.evidence["display_name"])
    given = dict(pair.rpartition("=")[::2] for pair in options["name"] or ())
    return given.get(shown) or proposed_name(shown)


def _open(
    finding: Finding, options: dict[str, Any], project: Model | None, caller: Caller
) -> Operation:
    if not facts_of(finding).needs_choice:
        named = {"repair": _chosen(finding, options["repair"])}
        return perform(REPAIR, finding.pk, named, caller)
    if options["unmanaged"] == "delete":
        return perform(DELETE_UNMANAGED, finding.pk, None, caller)
    given = {"project": str(project and project.pk), "model_name": _name_for(finding, options)}
    return perform(ADOPT, finding.pk, given, caller)


_TONES = {OperationStatus.SUCCEEDED: "green", OperationStatus.FAILED: "red"}


def _print_outcome(console: Console, finding: Finding, operation: Operation) -> None:
    status = OperationStatus(operation.status)
    tone = _TONES.get(status, "yellow")
    console.print(f"[{tone}]{status.label.lower()}[/] {escape(finding.title)}")
    console.print(f"     {escape(_outcome_of(operation))}")
    if status not in _TONES:
        console.print(
            f"     Operation {operation.pk} is unfinished; run manage.py resume_operations."
        )


def _outcome_of(operation: Operation) -> str:
    """Return why it failed or waits, otherwise the note of its last step before the closing one."""
    if operation.error:
        return f"{operation.error} {operation.advice}".strip()
    steps = [step for step in operation.steps if step["step"] != "close" and step.get("note")]
    return str(steps[-1]["note"]) if steps else ""
