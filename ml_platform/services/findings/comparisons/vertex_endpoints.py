"""Compare what is deployed to Vertex AI endpoints with our versions: a pure function."""

from __future__ import annotations

from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.models.states import HOLDS_POINTER, Registration
from ml_platform.services.findings.discrepancy import Discrepancy
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.mirror.vertex_endpoints import Deployment

UNDEPLOY = (
    "No automatic repair: who deployed it knows who calls it. Undeploy it from that endpoint in "
    "Vertex AI, or register a version and deploy that."
)


def deployment_subject(deployment: Deployment) -> str:
    """Return the subject of findings about a version at a Vertex AI endpoint."""
    return f"endpoint {deployment.endpoint.endpoint_id} deployed model {deployment.deployed_id}"


def compare_deployment(
    deployment: Deployment, lineage: RegisteredModel, run: TrainingRun | None
) -> Discrepancy | None:
    """Compare a version of a model of `lineage` that an endpoint serves with our records; None when
    it is registered. `run` is the one that is or was this version."""
    if run is not None and run.registration in HOLDS_POINTER:
        return None
    state = Registration(run.registration).label.lower() if run else "not registered"
    endpoint = deployment.endpoint
    return Discrepancy(
        kind=FindingKind.VERTEX_ENDPOINT_UNREGISTERED,
        subject=deployment_subject(deployment),
        title=f"The Vertex AI endpoint {endpoint} serves version {deployment.version} of "
        f"{lineage.model_name}, which is {state}",
        repair=UNDEPLOY,
        evidence={
            "endpoint": endpoint.resource_name,
            "deployed_model_id": deployment.deployed_id,
            "model_name": lineage.model_name,
            "resource_name": f"{deployment.model}@{deployment.version}",
            "percent_of_traffic": deployment.percent,
            "our_registration": run.registration if run else "",
        },
        project_id=lineage.project_id,
        lineage_id=lineage.pk,
        run_id=run.pk if run else None,
    )
