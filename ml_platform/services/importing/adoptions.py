"""Models and endpoints: what Vertex AI and Cloud Run have is adopted, by the operations that adopt
what a person chooses; the host's rows add what those planes do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_platform.cloud.answers import Absent, Answer, Present, Unknown
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.types import RemoteService
from ml_platform.errors import Invalid, PlatformError
from ml_platform.models import DeployedEndpoint, RegisteredModel, TrainingRun
from ml_platform.models.database import atomic
from ml_platform.models.states import ModelType
from ml_platform.services.deployment.adopt_service import open_service_adoption
from ml_platform.services.operations.history import record
from ml_platform.services.ownership.service_names import check_service_name
from ml_platform.services.registration.adoption import adopt_model
from ml_platform.text import counted

from .candidates import EndpointRow, ModelRow
from .context import (
    IMPORT,
    Claim,
    Decision,
    HostModel,
    Importing,
    Outcome,
    ask_service,
    ask_versions,
    subject_of,
)

ADOPTED = Decision(Outcome.IMPORTED, "Its service is adopted: it gets our labels.")
NEVER = "It was never registered in Vertex AI; its runs come as history."


# ---- models ------------------------------------------------------------------------------------


def find_models(work: Importing) -> None:
    """Read the model names, and ask Vertex AI about each that is not registered here."""
    for page in work.candidates("models", ModelRow):
        for row in page:
            model = HostModel(row)
            try:
                model.name = row.vertex_name
                model.decision = _decide(work, model)
            except Invalid as error:
                model.decision = Decision(Outcome.REFUSED, str(error))
            work.add_model(model)


def _decide(work: Importing, model: HostModel) -> Decision:
    row, name = model.row, model.name
    if row.project not in work.projects:
        return Decision(Outcome.REFUSED, f"Its project {row.project} did not come.")
    if name is None:
        return Decision(Outcome.LEFT_OUT, NEVER)
    if (there := registered_at(name)) is not None:
        project = work.projects[row.project]
        if project is None or there.project_id != project.pk:
            return Decision(Outcome.REFUSED, f"{name} is a registered model already.")
        return Decision(Outcome.PRESENT)
    model.answer = ask_versions(name)
    match model.answer:
        case Present(value=versions):
            return Decision(Outcome.IMPORTED, f"{counted(len(versions), 'version')}.")
        case Absent(reason=reason):
            return Decision(Outcome.LEFT_OUT, f"It is gone; its runs come as history. {reason}")
        case Unknown(reason=reason):
            return Decision(Outcome.WAITS, reason)


def registered_at(name: ModelName) -> RegisteredModel | None:
    """Return the registered model there, whatever its versions call the Google project."""
    where = f"/locations/{name.location}/models/{name.model_id}"
    return RegisteredModel.objects.filter(vertex_model_resource_name__endswith=where).first()


def adopt_models(work: Importing) -> None:
    """Adopt each model that Vertex AI has; its versions become the runs that came before it."""
    for model in work.models.values():
        if work.write and model.decision.outcome == Outcome.IMPORTED:
            model.decision = _adopt(work, model)
        name = model.row.name
        renamed = (
            f" Its name here is {model.row.model_name}." if model.row.model_name != name else ""
        )
        said = model.decision._replace(why=f"{model.decision.why}{renamed}".strip())
        work.note("models", model.row.key, name, said)


def _adopt(work: Importing, model: HostModel) -> Decision:
    row = model.row
    try:
        operation = adopt_model(
            resource_name=str(model.name),
            project=work.projects[row.project],
            model_name=row.model_name,
            model_type="" if row.type == ModelType.OTHER else row.type,
            description=row.description,
            known=_known(model.claims),
            actor=work.actor,
            now=work.clock(),
        )
    except PlatformError as error:
        return Decision(Outcome.REFUSED, error.words)
    return work.finish(operation)


def _known(claims: Mapping[str, Claim]) -> dict[str, dict[str, Any]]:
    """The claims with the ids of the runs, which have come by now."""
    uids = [claim.run for claim in claims.values()]
    runs = dict(TrainingRun.objects.filter(uid__in=uids).values_list("uid", "pk"))
    return {
        version: {"run": runs[claim.run], "registered_at": claim.registered_at}
        for version, claim in claims.items()
        if claim.run in runs
    }


# ---- endpoints ---------------------------------------------------------------------------------


def import_endpoints(work: Importing) -> None:
    """Adopt the services that serve; record the endpoints that were stopped."""
    for page in work.candidates("endpoints", EndpointRow):
        for row in page:
            model = work.models.get(row.model)
            decision = decide_endpoint(work, row, model)
            if work.write and model and decision.outcome == Outcome.IMPORTED:
                decision = _bring(work, row, model, decision)
            work.note("endpoints", row.key, row.service, decision)


def decide_endpoint(work: Importing, row: EndpointRow, model: HostModel | None) -> Decision:
    """Return what becomes of an endpoint, by its model, our rows and Cloud Run."""
    known = DeployedEndpoint.objects.filter(service_name=row.service).first()
    if model is None:
        return Decision(Outcome.REFUSED, f"No model has the key {row.model}.")
    if known:
        if model.name and known.registered_model == registered_at(model.name):
            return Decision(Outcome.PRESENT)
        return Decision(Outcome.REFUSED, "There is an endpoint of that name for another model.")
    if model.decision.outcome not in (Outcome.IMPORTED, Outcome.PRESENT):
        outcome = model.decision.outcome
        return Decision(outcome, f"Its model {model.row.name} did not come.")
    return compare_service(row, ask_service(row.service))


def compare_service(row: EndpointRow, answer: Answer[RemoteService]) -> Decision:
    """Return what becomes of an endpoint whose model is here, by what Cloud Run answered."""
    match answer:
        case Unknown(reason=reason):
            return Decision(Outcome.WAITS, reason)
        case Present() if row.active:
            return ADOPTED
        case Present():
            return Decision(
                Outcome.REFUSED,
                "Its row says that it is not active, but Cloud Run has the service: delete one, or "
                "set the other right.",
            )
        case Absent() if row.active:
            return Decision(Outcome.IMPORTED, "As inactive: Cloud Run has no service of that name.")
        case _:
            return Decision(Outcome.IMPORTED, "As inactive.")


def _bring(work: Importing, row: EndpointRow, model: HostModel, decision: Decision) -> Decision:
    """Adopt the service where there is one; otherwise write the endpoint that was stopped."""
    lineage = registered_at(model.name) if model.name else None
    if lineage is None:
        return Decision(Outcome.REFUSED, f"Its model {model.row.name} is not registered here.")
    if decision != ADOPTED:
        _write_inactive(work, row, lineage)
        return decision
    try:
        check_service_name(row.service)
        with atomic():
            operation = open_service_adoption(
                service_name=row.service, lineage=lineage, actor=work.actor, now=work.clock()
            )
    except PlatformError as error:
        return Decision(Outcome.REFUSED, error.words)
    return work.finish(operation)


def _write_inactive(work: Importing, row: EndpointRow, lineage: RegisteredModel) -> None:
    run = TrainingRun.objects.filter(uid=work.uid("runs", row.run), registered_model=lineage)
    now = work.clock()
    with atomic():
        DeployedEndpoint.objects.create(
            uid=work.uid("endpoints", row.key),
            project_id=lineage.project_id,
            registered_model=lineage,
            service_name=row.service,
            run=run.first(),
            model_deleted=row.model_deleted,
            url=row.url,
            created_at=row.created_at or now,
        )
        record(
            workflow=IMPORT,
            subject=subject_of(lineage.project, f"the endpoint {row.service}"),
            actor=work.actor,
            now=now,
            note="It serves nothing.",
        )
