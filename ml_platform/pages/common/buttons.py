"""Which buttons a row has, and why one is off: judged from rows that are loaded, nothing read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from django.urls import reverse

from ml_platform.actions.action import Action
from ml_platform.actions.caller import Caller
from ml_platform.errors import PlatformError
from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.models.states import EndpointState, RunStatus
from ml_platform.pages.view_models.context import Button
from ml_platform.pages.view_models.metrics import main_metric, measured_against
from ml_platform.services.access.rights import Right
from ml_platform.services.deployment.endpoint_state import (
    NotDeployable,
    choose_endpoint,
    reason_already_deployed,
    reason_not_deployable,
    reason_not_restorable,
)
from ml_platform.services.registry.registry_state import RegistryVerdict

MISSING = "It is not in the Vertex AI Model Registry. Repair the finding, or train it again."
RIGHT_NEEDED = "You may not do this. Ask an administrator for the permission {right}."
KEEPS: Mapping[str, str] = dict.fromkeys(
    ("undeploy", "cancel-run", "cancel-operation"), "Keep it running"
)
"""What the other button of a question that destroys says: what stays."""


def button(
    caller: Caller,
    action: Action[Any, Any],
    subject: Any,
    label: str,
    *,
    name: str,
    facts: object | None = None,
    confirm: str = "",
    tone: str = "plain",
    reason: str = "",
) -> Button:
    """The button of an action; one that cannot be pressed now says why in its tooltip.

    `facts` are those of the action, where the page has loaded them.
    """
    refusal = action.refusal(caller, subject, facts)
    address = [action.name, str(subject.pk)]
    return Button(
        label=label,
        name=name,
        url=reverse("ml_platform:do", args=address),
        check=reverse("ml_platform:check", args=address),
        why=refusal.words if refusal else "",
        confirm=confirm,
        tone=tone,
        key=uuid4().hex,
        reason=reason,
        keep=KEEPS.get(action.name, "Keep it") if tone == "danger" else "",
    )


def is_offered(action: Action[Any, Any], facts: object) -> bool:
    """Whether nothing but a missing right stands against it: without it no button is drawn."""
    try:
        action.require(facts)
    except PlatformError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Permissions:
    """Whoever looks at a page, by what they may do."""

    rights: Collection[Right]

    def button(
        self,
        verb: str,
        subject: object,
        label: str,
        *,
        name: str,
        right: Right,
        why: str = "",
        confirm: str = "",
        tone: str = "plain",
        reason: str = "",
    ) -> Button:
        """A button that does `verb` to the thing of that id."""
        if right not in self.rights:
            why = RIGHT_NEEDED.format(right=right)
        return Button(
            label=label,
            name=name,
            url=reverse("ml_platform:do", args=[verb, str(subject)]),
            check=reverse("ml_platform:check", args=[verb, str(subject)]),
            why=why,
            confirm=confirm,
            tone=tone,
            key=uuid4().hex,
            reason=reason,
            keep=KEEPS.get(verb, "Keep it") if tone == "danger" else "",
        )


def deploy_button(
    permissions: Permissions,
    run: TrainingRun,
    verdict: RegistryVerdict,
    endpoints: Sequence[DeployedEndpoint],
) -> Button:
    """Deploy this version to its model's service."""
    what = f"{run.model_name} v{run.version}"
    return permissions.button(
        "deploy-run",
        run.pk,
        f"Deploy v{run.version}",
        name=f"Deploy {what}",
        right=Right.DEPLOY,
        why=reason_disabled_deploy(run, verdict, endpoints),
        confirm=question_of_deploy(f"Deploy {what}", run, choose_endpoint(endpoints)),
    )


def question_of_deploy(what: str, run: TrainingRun, target: DeployedEndpoint | None) -> str:
    """Where it goes, what it replaces, whether it is better: what there is to decide."""
    where = f"to {target.service_name}" if target else "as a new service on Cloud Run"
    lines = [f"{what} {where}?"]
    served = target.run if target and target.is_active else None
    if target and served and served.pk != run.pk:
        lines.append(f"{target.service_name} serves v{served.version} now.")
        lines.append(measured_against(run.metrics, served.metrics, f"v{served.version}"))
    elif metric := main_metric(run.metrics):
        lines.append(f"{metric.name} {metric.value}.")
    lines.append("Vertex AI and its artifacts are checked first.")
    return "\n".join(filter(None, lines))


def reason_disabled_deploy(
    run: TrainingRun, verdict: RegistryVerdict, endpoints: Sequence[DeployedEndpoint]
) -> str:
    """What stands against deploying a version now, '' for nothing. Unknown does not (law 3)."""
    if verdict.verified is False:
        return MISSING
    if run.status == RunStatus.DEPLOYING:
        return "It is being deployed."
    if reason := reason_not_deployable(run):
        return _told(reason)
    target = choose_endpoint(endpoints)
    return str((target and reason_already_deployed(target, run)) or "")


def endpoint_buttons(
    permissions: Permissions, endpoint: DeployedEndpoint, verdict: RegistryVerdict, busy: str
) -> tuple[Button, ...]:
    """Deploy again, and stop or remove, as the endpoint's state has it; `busy` names its holder."""
    service, pk = endpoint.service_name, endpoint.pk
    last = f"v{endpoint.run.version}" if endpoint.run else ""
    redeploy = permissions.button(
        "redeploy",
        pk,
        f"Deploy {last}".strip(),
        name=f"Deploy {last} to {service}" if last else f"Deploy {service}",
        right=Right.DEPLOY,
        why=reason_disabled_redeploy(endpoint, verdict, busy),
        confirm=f"Deploy {last} to {service} again? It is checked first.",
    )
    if stopped(endpoint):
        remove = permissions.button(
            "delete-endpoint",
            pk,
            "Remove",
            name=f"Remove {service}",
            right=Right.DELETE,
            confirm=f"Remove {service} from this list? It is stopped; its history stays.",
            tone="danger",
        )
        return redeploy, remove
    undeploy = permissions.button(
        "undeploy",
        pk,
        "Undeploy",
        name=f"Undeploy {service}",
        right=Right.DEPLOY,
        why=reason_disabled_undeploy(endpoint, busy),
        confirm=f"Stop {service}? Requests to it will fail.",
        tone="danger",
    )
    before = endpoint.previous_run
    if before is None or not endpoint.is_active:
        return redeploy, undeploy
    # What it serves cannot be deployed to it again: the way back stands in that button's place.
    rollback = permissions.button(
        "rollback",
        pk,
        f"Roll back to v{before.version}",
        name=f"Roll {service} back to v{before.version}",
        right=Right.DEPLOY,
        why=reason_disabled_rollback(endpoint, verdict, busy),
        confirm=question_of_deploy(
            f"Return {before.model_name} v{before.version}", before, endpoint
        ),
    )
    return rollback, undeploy


def stopped(endpoint: DeployedEndpoint) -> bool:
    """Whether nothing of it serves or may serve."""
    return not endpoint.is_active and endpoint.state == EndpointState.INACTIVE


def reason_disabled_redeploy(
    endpoint: DeployedEndpoint, verdict: RegistryVerdict, busy: str
) -> str:
    """What stands against bringing an endpoint up again."""
    if reason := reason_not_restorable(endpoint):
        return str(reason)
    if endpoint.state in (EndpointState.DEPLOYING, EndpointState.UNDEPLOYING):
        return f"It is {endpoint.get_state_display().lower()}."
    if endpoint.run is None:
        return "It has served no version yet."
    if endpoint.is_active:
        return f"It serves v{endpoint.run.version} already."
    return busy or reason_disabled_deploy(endpoint.run, verdict, ())


def reason_disabled_rollback(
    endpoint: DeployedEndpoint, verdict: RegistryVerdict, busy: str
) -> str:
    """What stands against serving the version before again."""
    if endpoint.previous_run is None:
        return "It has served no version before this one."
    if not endpoint.is_active:
        return "It is stopped. Deploy it first."
    return busy or reason_disabled_deploy(endpoint.previous_run, verdict, (endpoint,))


def reason_disabled_undeploy(endpoint: DeployedEndpoint, busy: str) -> str:
    """What stands against stopping an endpoint. One that a failed deploy left `deploying` may be
    stopped: that is how to find out what serves."""
    if stopped(endpoint):
        return "It is stopped already."
    return "It is being stopped." if endpoint.state == EndpointState.UNDEPLOYING else busy


def reason_disabled_remove(endpoint: DeployedEndpoint) -> str:
    """What stands against taking an endpoint from the list."""
    if stopped(endpoint):
        return ""
    return f"It is {endpoint.get_state_display().lower()}. Undeploy it first."


def _told(error: NotDeployable) -> str:
    return f"{error} {error.advice}".strip()
