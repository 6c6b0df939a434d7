"""The preview of a deletion: the facts that its plan is made of, read from all planes now."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from ml_platform.cloud import cloud_run
from ml_platform.cloud.answers import Present, ask
from ml_platform.cloud.types import RemoteService
from ml_platform.errors import CloudAbsent
from ml_platform.models import DeployedEndpoint, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import OperationStatus, Registration
from ml_platform.services.operations.subjects import lineage_lock
from ml_platform.services.registry.artifacts import Size, UnsafePath, deletable_prefix, measure
from ml_platform.services.registry.labels import OWNER, RUN, owner

from .plan import DeletionPlan, EndpointFacts, ServiceFacts, VersionFacts, plan_deletion

DELETABLE = (Registration.REGISTERED, Registration.DELETING, Registration.LOST)


def preview_deletion(*, lineage: RegisteredModel, runs: Sequence[TrainingRun]) -> DeletionPlan:
    """Say what the deletion would take, leave and meet, by what Google answers now."""
    unknown = []
    listed = ask(lambda: services_of(runs))
    if not isinstance(listed, Present):
        unknown.append(f"Cloud Run: {listed.reason}")
    doomed = {run.pk for run in runs}
    versions = []
    for run in lineage.training_runs.filter(registration__in=DELETABLE).order_by("version"):
        size, unsafe, reason = _size_of(run) if run.pk in doomed else (None, "", "")
        unknown += [reason] if reason else []
        versions.append(_version_facts(run, size, unsafe))
    holder = Operation.objects.filter(
        lineage_key=lineage_lock(lineage), status=OperationStatus.RUNNING
    ).first()
    return plan_deletion(
        versions=versions,
        doomed=doomed,
        endpoints=[_endpoint_facts(e) for e in lineage.deployed_endpoints.all()],
        services=listed.value if isinstance(listed, Present) else (),
        busy=f"Operation {holder.pk} ({holder}) is running." if holder else "",
        unknown=unknown,
    )


def services_of(runs: Sequence[TrainingRun]) -> list[ServiceFacts]:
    """The services of ours that serve one of the runs, as Cloud Run shows them now."""
    uids = {run.uid.hex for run in runs}
    return [
        ServiceFacts(service_name=service.service_id, run_uid=uid)
        for page in cloud_run.list_services()
        for service in page
        if service.labels.get(OWNER) == owner()
        for uid in sorted(_served_by(service) & uids)
    ]


def _served_by(service: RemoteService) -> set[str]:
    """Uids of the runs of the newest revision, and of each other one that requests may reach."""
    runs = {service.labels.get(RUN, "")}
    for revision in service.serving:
        if revision != service.latest_created_revision:
            with suppress(CloudAbsent):  # a revision that is gone serves nothing
                labels = cloud_run.get_revision_labels(service.service_id, revision)
                runs.add(labels.get(RUN, ""))
    return runs


def _size_of(run: TrainingRun) -> tuple[Size | None, str, str]:
    """A run's size in GCS, why its path is unsafe, why it could not be read."""
    try:
        prefix = deletable_prefix(run=run)
    except UnsafePath as error:
        return None, str(error), ""
    if prefix is None:
        return None, "", ""
    measured = ask(lambda: measure(prefix=prefix))
    if isinstance(measured, Present):
        return measured.value, "", ""
    return None, "", f"GCS: {measured.reason}"


def _version_facts(run: TrainingRun, size: Size | None, unsafe: str) -> VersionFacts:
    name, version = run.vertex_model_resource_name, run.vertex_model_version
    return VersionFacts(
        run_id=run.pk,
        run_uid=run.uid.hex,
        number=run.version or 0,
        vertex=f"{name}@{version}" if name else "",
        aliases=tuple(run.aliases),
        size=size,
        unsafe=unsafe,
    )


def _endpoint_facts(endpoint: DeployedEndpoint) -> EndpointFacts:
    runs = (endpoint.run_id, endpoint.intended_run_id)
    return EndpointFacts(
        id=endpoint.pk,
        service_name=endpoint.service_name,
        state=endpoint.state,
        is_active=endpoint.is_active,
        run_ids=tuple(run_id for run_id in runs if run_id is not None),
    )
