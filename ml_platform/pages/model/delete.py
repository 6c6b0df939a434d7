"""`/models/<id>/delete/`: the plan of a deletion. The only page that calls Google."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from ml_platform.actions.action import perform
from ml_platform.actions.models import DELETE_VERSIONS, find_model
from ml_platform.errors import Invalid, PlatformError
from ml_platform.guard import require_known
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.pages.common.queries import read_versions
from ml_platform.pages.layout import begun, caller_of, failed, form_page, render_page, wants_json
from ml_platform.pages.training.registry_table import model_url
from ml_platform.pages.view_models.context import Fact, Link, Values
from ml_platform.services.artifacts.folders import Size, human_size
from ml_platform.services.deletion.plan import DeletionPlan, VersionFacts
from ml_platform.services.deletion.preview import DELETABLE, preview_deletion
from ml_platform.text import counted


@form_page
def delete(request: HttpRequest, model_id: int) -> HttpResponse:
    """Show the plan; when the name is posted, open the deletion, which makes all checks again."""
    caller = caller_of(request)
    lineage = find_model(caller, model_id)
    require_known(request, ("version",))  # a misspelled one would show the plan for all versions
    try:
        caller.require(DELETE_VERSIONS.right_for(lineage))
        runs = _runs(request, lineage)
        mistake = _mistake(request, lineage, runs) if request.method == "POST" else None
        if request.method == "POST" and mistake is None:
            given = {"runs": [run.pk for run in runs], "reason": request.POST.get("reason", "")}
            return begun(request, perform(DELETE_VERSIONS, model_id, given, caller))
        if mistake is not None and wants_json(request):
            raise mistake
        plan = preview_deletion(lineage=lineage, runs=runs)
    except PlatformError as error:
        return failed(request, error, back=model_url(lineage.pk))
    found = _page(lineage, runs, plan)
    if mistake is None:
        return render_page(request, "delete", found)
    found |= {"error": f"{mistake} {mistake.advice}", "typed": request.POST.get("name", "")}
    return render_page(request, "delete", found, status=422)


def _runs(request: HttpRequest, lineage: RegisteredModel) -> list[TrainingRun]:
    """The version that the request names, or all versions."""
    query = request.POST if request.method == "POST" else request.GET
    rows = lineage.training_runs.filter(registration__in=DELETABLE).order_by("version")
    if asked := read_versions(query, "version"):
        rows = rows.filter(version__in=asked)
    if not rows:
        raise Http404("There is no such version.")
    return list(rows)


def _mistake(
    request: HttpRequest, lineage: RegisteredModel, runs: Sequence[TrainingRun]
) -> Invalid | None:
    """What is wrong with the form that was posted."""
    if request.POST.get("name", "").strip() != lineage.model_name:
        return Invalid(
            f"The name typed is not {lineage.model_name}. Nothing was deleted.",
            code="name_differs",
            advice="Type the name of the model.",
        )
    if sorted(str(run.pk) for run in runs) != sorted(request.POST.getlist("run")):
        return Invalid(
            "The versions are not those of the plan any more. Nothing was deleted.",
            code="plan_changed",
            advice="Check the new plan.",
        )
    return None


def _page(lineage: RegisteredModel, runs: Sequence[TrainingRun], plan: DeletionPlan) -> Values:
    training = reverse("ml_platform:training", args=[lineage.project_id])
    one = str(runs[0].version) if len(runs) == 1 else ""
    return {
        "project": Link(text=str(lineage.project), url=training),
        "model": Link(text=lineage.model_name, url=model_url(lineage.pk)),
        "name": lineage.model_name,
        "what": f"version {one}" if one else f"all {len(runs)} versions",
        "url": reverse("ml_platform:delete", args=[lineage.pk]),
        "version": one,
        "run_ids": [run.pk for run in runs],
        "key": uuid4().hex,
        "going": [_going(version) for version in plan.versions],
        "staying": [f"v{version.number}" for version in plan.siblings],
        "endpoints": [endpoint.service_name for endpoint in plan.endpoints_marked],
        "moves_default": f"v{plan.default_moves_to.number}" if plan.default_moves_to else "",
        "ends_registration": plan.ends_registration,
        "size": _size(plan.size) if len(plan.versions) > 1 else "",
        "blocks": [
            Link(
                text=block.error.words,
                url=f"{training}#endpoint-{block.endpoint_id}" if block.endpoint_id else "",
            )
            for block in plan.blocks
        ],
        "unknown": plan.unknown,
        "files_go": plan.files_go,
        "files_brought_back": plan.files_brought_back,
    }


def _going(version: VersionFacts) -> Fact:
    size = _size(version.size) if version.size else "no artifacts"
    if version.used_by:
        size = f"its artifacts stay, used by {version.used_by}"
    aliases = f", its aliases {', '.join(version.aliases)}" if version.aliases else ""
    return Fact(name=f"v{version.number}", value=f"{size}{aliases}")


def _size(size: Size) -> str:
    more = "" if size.complete else "at least "
    return f"{more}{counted(size.objects, 'object')}, {human_size(size.bytes)}"
