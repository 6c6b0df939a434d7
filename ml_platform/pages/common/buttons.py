"""Buttons from actions: which a row has, and why one is disabled, by facts that are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from ml_platform.actions.action import Action
from ml_platform.actions.caller import Caller
from ml_platform.actions.endpoints import DELETE, DEPLOY, REDEPLOY, ROLL_BACK, UNDEPLOY, Known
from ml_platform.actions.models import SET_ALIASES, AliasFacts
from ml_platform.actions.runs import APPROVE, WITHDRAW
from ml_platform.conf import get_settings
from ml_platform.errors import PlatformError
from ml_platform.models import DeployedEndpoint, TrainingRun
from ml_platform.pages.view_models.addresses import url_of
from ml_platform.pages.view_models.context import Button
from ml_platform.pages.view_models.metrics import main_metric, measured_against
from ml_platform.services.access.rights import Right
from ml_platform.services.deployment.deployable import (
    DeployFacts,
    UndeployFacts,
    is_stopped,
    told_overwritten,
)
from ml_platform.services.serving.config import ServingConfig

_PROTECTED = " Only an administrator moves or removes {} from a version that has it."
KEEPS: Mapping[str, str] = dict.fromkeys(
    ("undeploy", "cancel-run", "cancel-operation"), "Keep it running"
)
"""The label of the button that declines the question."""


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
    fields: tuple[tuple[str, str], ...] = (),
) -> Button:
    """The button of an action; one that cannot be pressed now says why in its tooltip.

    `facts` are those of the action, where the page has loaded them.
    """
    refusal = action.refusal(caller, subject, facts)
    return Button(
        label=label,
        name=name,
        url=url_of("do", subject.pk, action.name),
        check=url_of("check", subject.pk, action.name),
        why=refusal.words if refusal else "",
        confirm=confirm,
        tone=tone,
        key=uuid4().hex,
        reason=reason,
        fields=fields,
        keep=KEEPS.get(action.name, "Keep it") if tone == "danger" else "",
    )


def is_offered(action: Action[Any, Any], facts: object) -> bool:
    """Whether the state allows it; the user may still lack the right."""
    try:
        action.require(facts)
    except PlatformError:
        return False
    return True


def offered(
    caller: Caller, action: Action[Any, Any], subject: Any, label: str, **more: Any
) -> list[Button]:
    """The button of an action, if it is offered; by `facts` if they are among `more`."""
    if not is_offered(action, more.get("facts", subject)):
        return []
    return [button(caller, action, subject, label, **more)]


def deploy_button(caller: Caller, facts: DeployFacts, run: TrainingRun) -> Button:
    """Deploy this version to its model's service."""
    what = f"{run.model_name} v{run.version}"
    return button(
        caller,
        DEPLOY,
        run,
        f"Deploy v{run.version}",
        facts=facts,
        name=f"Deploy {what}",
        confirm=_question(f"Deploy {what}", run, facts.target),
    )


def _question(what: str, run: TrainingRun, target: DeployedEndpoint | None) -> str:
    """The question before a deploy: the service, the version it replaces, and which is better."""
    where = f"to {target.service_name}" if target else "as a new service on Cloud Run"
    lines = [f"{what} {where}?"]
    served = target.run if target and target.is_active else None
    if target and served and served.pk != run.pk:
        lines.append(f"{target.service_name} serves v{served.version} now.")
        lines.append(measured_against(run.metrics, served.metrics, f"v{served.version}"))
    elif metric := main_metric(run.metrics):
        lines.append(f"{metric.name} {metric.value}.")
    lines += _overwrites(target) if target else []
    lines.append("Vertex AI and its artifacts are checked first.")
    return "\n".join(filter(None, lines))


def _overwrites(target: DeployedEndpoint) -> list[str]:
    """What others changed there, in words: a deploy writes our settings over it."""
    told = told_overwritten(target)
    return [f"Others changed it on Cloud Run, which is overwritten: {'; '.join(told)}."] * bool(
        told
    )


def endpoint_buttons(caller: Caller, endpoint: DeployedEndpoint, known: Known) -> list[Button]:
    """Deploy again, and stop or remove, as the endpoint's state allows."""
    service = endpoint.service_name
    if endpoint.previous_run and endpoint.is_active and not is_stopped(endpoint):
        # What it serves cannot be deployed to it again: this button takes the place of the other.
        first = _rollback_button(caller, endpoint, endpoint.previous_run, known)
    else:
        last = f"v{endpoint.run.version}" if endpoint.run else ""
        first = button(
            caller,
            REDEPLOY,
            endpoint,
            f"Deploy {last}".strip(),
            facts=known.restore(endpoint, endpoint.run),
            name=f"Deploy {last} to {service}" if last else f"Deploy {service}",
            confirm="\n".join(
                [f"Deploy {last} to {service} again? It is checked first.", *_overwrites(endpoint)]
            ),
        )
    if is_stopped(endpoint):
        facts: object = endpoint
        action, label = DELETE, "Remove"
        confirm = f"Remove {service} from this list? It is stopped; its history stays."
    else:
        facts = UndeployFacts(endpoint=endpoint, locks=known.locks)
        action, label = UNDEPLOY, "Undeploy"
        confirm = f"Stop {service}? Requests to it will fail."
    name = f"{label} {service}"
    second = button(
        caller, action, endpoint, label, facts=facts, name=name, confirm=confirm, tone="danger"
    )
    return [first, second]


def _rollback_button(
    caller: Caller, endpoint: DeployedEndpoint, before: TrainingRun, known: Known
) -> Button:
    return button(
        caller,
        ROLL_BACK,
        endpoint,
        f"Roll back to v{before.version}",
        facts=known.restore(endpoint, before, ServingConfig.from_dict(endpoint.previous_config)),
        name=f"Roll {endpoint.service_name} back to v{before.version}",
        confirm=_question(f"Return {before.model_name} v{before.version}", before, endpoint),
    )


def approval_button(caller: Caller, run: TrainingRun) -> Button:
    """Approve a version that may not be deployed by its judgement, or withdraw what it has."""
    return withdraw_button(caller, run) if run.is_accepted else approve_button(caller, run)


def approve_button(caller: Caller, run: TrainingRun) -> Button:
    """Let a version be deployed, whatever its evaluator said."""
    return button(
        caller,
        APPROVE,
        run,
        "Approve",
        name=f"Approve {run.model_name} v{run.version}",
        reason="Why may it be deployed? The history shows it.",
    )


def withdraw_button(caller: Caller, run: TrainingRun) -> Button:
    """Forbid further deploys of a version."""
    return button(
        caller,
        WITHDRAW,
        run,
        "Withdraw",
        name=f"Withdraw the approval of {run.model_name} v{run.version}",
        reason="Why may it not be deployed any more? What serves goes on until it is undeployed.",
    )


def alias_button(caller: Caller, run: TrainingRun, facts: AliasFacts | None = None) -> Button:
    """Add, move and remove the aliases of a version."""
    protected = ", ".join(get_settings().PROTECTED_ALIASES)
    limit = "" if caller.has(Right.ADMINISTER) or not protected else _PROTECTED.format(protected)
    return button(
        caller,
        SET_ALIASES,
        run,
        "Change aliases",
        facts=facts,
        name=f"Change the aliases of {run.model_name} v{run.version}",
        reason="Its aliases, separated by commas. One that another version has moves to this one."
        f"{limit}",
    )
