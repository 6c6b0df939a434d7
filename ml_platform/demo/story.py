"""`demo --once`: the incident in a terminal, with the functions that pages and API call."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml_platform import kpis
from ml_platform.errors import PlatformError
from ml_platform.models import Finding, RegisteredModel, TrainingSchedule
from ml_platform.models.clock import database_now
from ml_platform.models.states import OperationStatus
from ml_platform.services.findings.kinds import facts_of
from ml_platform.services.operations.store import Actor
from ml_platform.services.operations.workflow import title_of
from ml_platform.services.repairs.reconciliation import finish_operation, repair_finding
from ml_platform.services.repairs.unmanaged_models import delete_unmanaged_model
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.text import counted

VERDICTS = {
    True: "[green]they agree[/]",
    False: "[red]they differ[/]",
    None: "it is unknown whether they agree",
}


def tell(*, console: Console, actor: Actor) -> bool:
    """Sweep, show the findings, repair them, and sweep; returns whether all ended well."""
    orphans = RegisteredModel.objects.never_registered()
    ended = list(
        TrainingSchedule.objects.filter(registered_model__in=orphans).values_list("pk", flat=True)
    )
    console.rule("1. The planes, as the incident left them")
    sweep(actor=actor, clock=database_now)
    _show_counts(console)

    console.rule("2. What is wrong")
    findings = list(Finding.objects.open().select_related("registered_model", "run"))
    _show_findings(console, findings)

    console.rule("3. What is done about it")
    if not findings:
        console.print("Nothing.")
    repaired = [_repair(console, finding, actor) for finding in findings]
    left = list(TrainingSchedule.objects.filter(pk__in=ended))
    for schedule in left:
        runs = counted(schedule.training_runs.count(), "run")
        state = f"{schedule.get_state_display().lower()}, {runs}"
        console.print(f"Schedule [bold]{escape(schedule.name)}[/] is still there: {state}.")

    console.rule("4. The planes afterwards")
    sweep(actor=actor, clock=database_now)
    agree = _show_counts(console)
    return agree and all(repaired) and len(left) == len(ended)


def _show_counts(console: Console) -> bool:
    counts = kpis.four_counts()
    table = Table("Where", "Models", "Counted from")
    table.columns[1].justify = "right"
    vertex = "unknown" if counts.vertex is None else str(counts.vertex)
    for where, number, source in (
        ("Table rows", str(RegisteredModel.objects.count()), "every name, registered or not"),
        ("Registered", str(counts.database), "names with at least one version"),
        ("Project cards", str(counts.projects), "the same, added up by project"),
        ("Registry page", str(counts.registry_page), "the rows that the page lists"),
        ("Vertex AI", vertex, counts.vertex_reason or "what the service itself listed"),
    ):
        table.add_row(where, number, escape(source))
    console.print(table)
    # These names had a version, and have none any more.
    rows = RegisteredModel.objects.filter(next_version__gt=1).order_by("model_name")
    for row in rows.exclude(pk__in=RegisteredModel.objects.registered()):
        console.print(
            f"[bold]{escape(row.model_name)}[/] is among the table rows alone: "
            "it keeps its name and its history, without a version."
        )
    four = f"{counts.database} {counts.projects} {counts.registry_page} {vertex}"
    console.print(
        "Registered, project cards, registry page, Vertex AI: "
        f"[bold]{four}[/], {VERDICTS[counts.agree]}."
    )
    return counts.agree is True


def _show_findings(console: Console, findings: Sequence[Finding]) -> None:
    if not findings:
        console.print("Nothing.")
        return
    table = Table("Kind", "What", "Safe repair")
    for finding in findings:
        table.add_row(facts_of(finding).label, escape(finding.title), escape(finding.repair))
    console.print(table)


def _repair(console: Console, finding: Finding, actor: Actor) -> bool:
    """Repair it; a model without a safe repair is deleted, as was chosen in the incident."""
    try:
        if facts_of(finding).needs_choice:
            opened = delete_unmanaged_model(
                resource_name=finding.subject, actor=actor, now=database_now()
            )
        else:
            opened = repair_finding(finding=finding, actor=actor, now=database_now())
        operation = finish_operation(operation=opened, clock=database_now)
    except PlatformError as error:
        console.print(f"[red]not repaired[/] {escape(finding.title)}: {escape(str(error))}")
        return False
    done = operation.status == OperationStatus.SUCCEEDED
    mark = "[green]done[/]" if done else f"[red]{operation.get_status_display().lower()}[/]"
    console.print(f"{mark} {escape(title_of(operation))}: {escape(finding.title)}")
    for step in operation.steps:
        if note := str(step.get("note", "")):
            console.print(f"     {escape(str(step['title']))}: {escape(note)}", style="dim")
    if not done:
        console.print(f"     {escape(operation.error)}")
    return done
