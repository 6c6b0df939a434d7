"""What is wrong with each mutant: the patches that make it so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest.mock import patch

PATH = "ml_platform.services"


def nothing(*_: Any, **__: Any) -> None:
    """In place of what must not be left out."""


def swap(target: str, value: Any) -> Any:
    return patch(f"{PATH}.{target}", value)


def prefix_without_slash() -> list[Any]:
    from ml_platform.services.artifacts.folders import deletable_prefix as original

    def cut(**given: Any) -> Any:
        prefix = original(**given)
        return prefix and replace(prefix, key=prefix.key.rstrip("/"))

    return [swap("removal.steps.deletable_prefix", cut)]


def denied_is_gone() -> list[Any]:
    from ml_platform.cloud.transport import channels
    from ml_platform.cloud.transport.errors import translate as original
    from ml_platform.errors import CloudAbsent, CloudDenied

    def guess(error: Exception, method: str) -> Any:
        ours = original(error, method)
        return CloudAbsent(str(ours)) if isinstance(ours, CloudDenied) else ours

    return [patch.object(channels, "translate", guess)]


def parent_for_a_version() -> list[Any]:
    from ml_platform.cloud import vertex

    return [
        patch.object(vertex, "delete_model_version", lambda name: vertex.delete_model(name.bare))
    ]


def no_lock() -> list[Any]:
    from ml_platform.services.operations import store as operations

    original = operations.columns_of

    def unlocked(workflow: Any, subject: Any, actor: Any) -> Any:
        return original(workflow, replace(subject, lineage_key="", service_key=""), actor)

    return [swap("operations.store.columns_of", unlocked)]


def silent_reupload() -> list[Any]:
    from ml_platform.cloud import vertex
    from ml_platform.cloud.names import ModelName
    from ml_platform.errors import CloudAbsent
    from ml_platform.services.ownership.labels import labels_for
    from ml_platform.services.registry.verification import find_version as original

    def helpful(*, run: Any) -> Any:
        try:
            return original(run=run)
        except CloudAbsent:
            vertex.upload_model(
                display_name=run.model_name,
                artifact_uri=f"{run.gcs_artifacts_path}pushed_model/1",
                serving_image="image",
                labels=labels_for(run=run.uid),
                model_id=ModelName.parse(run.vertex_model_resource_name).model_id,
            )
            return original(run=run)

    return [swap("deployment.steps.find_version", helpful)]


def not_asked_whose() -> list[Any]:
    return [
        swap("serving.polling.wrong_label", lambda *_: ""),
        swap("deployment.undeploy.belongs_to", lambda *_: True),
    ]


def first_page_only() -> list[Any]:
    from ml_platform.cloud.transport import channels

    original = channels.rpc_pages

    def first(*given: Any) -> Iterator[Any]:
        yield next(original(*given))

    return [patch.object(channels, "rpc_pages", first)]


def row_after_cloud_run() -> list[Any]:
    from ml_platform.models import DeployedEndpoint
    from ml_platform.services.deployment.endpoint_state import mark_deploying as original

    def late(**given: Any) -> None:
        original(**given)
        DeployedEndpoint.objects.filter(service_name=given["service"], is_active=False).update(
            state="inactive", intended_run=None
        )

    return [
        swap("deployment.deploy.mark_deploying", late),
        swap("deployment.steps.mark_deploying", late),
    ]


def inactive_before_gone() -> list[Any]:
    from ml_platform.services.deployment.endpoint_state import record_stopped

    return [swap("deployment.undeploy.mark_undeploying", record_stopped)]


def step_of(kind: str, name: str, **changes: Any) -> list[Any]:
    """One step of a recipe, changed."""
    from ml_platform.services.workflows import WORKFLOWS

    workflow = WORKFLOWS[kind]
    steps = tuple(replace(s, **changes) if s.name == name else s for s in workflow.steps)
    return [patch.dict(WORKFLOWS, {kind: replace(workflow, steps=steps)})]


def mark_is_left() -> list[Any]:
    from ml_platform.services.workflows import WORKFLOWS

    workflow = replace(WORKFLOWS["delete-versions"], on_failure=nothing, on_cancel=nothing)
    return [patch.dict(WORKFLOWS, {"delete-versions": workflow})]


def swallowed() -> list[Any]:
    from ml_platform.errors import CloudUnavailable
    from ml_platform.services.artifacts.folders import delete_what_may_go as original

    def cheerful(**given: Any) -> Any:
        try:
            return original(**given)
        except CloudUnavailable:
            return None

    return [swap("removal.steps.delete_what_may_go", cheerful)]


def empty_page_is_the_end() -> list[Any]:
    from ml_platform.cloud import storage
    from ml_platform.services.artifacts.folders import delete_what_may_go as original

    def hasty(*, prefix: Any, after: str = "") -> Any:
        pages = storage.list_objects(prefix.bucket, prefix.key, after=after)
        return original(prefix=prefix, after=after) if next(pages) else None

    return [swap("removal.steps.delete_what_may_go", hasty)]


def sent_for_all() -> list[Any]:
    def any_of_it(work: Any, pointer: Any) -> bool:
        del pointer
        return bool(work.remote_operation)

    return [swap("deletion.steps.is_sent", any_of_it)]


def lost_not_looked_for() -> list[Any]:
    from ml_platform.services.deletion.state import pointer_of as original

    def nowhere(run: Any) -> Any:
        pointer = original(run)
        return pointer.at("999") if run.registration == "lost" else pointer

    return [swap("deletion.steps.pointer_of", nowhere)]


def traffic_not_asked() -> list[Any]:
    def labelled(service: Any, uids: set[str]) -> set[str]:
        return {service.labels.get("mlp_run", "")} & uids

    return [swap("deletion.preview._served_by", labelled)]


def same_generation() -> list[Any]:
    from ml_platform.models import RegisteredModel
    from ml_platform.services.registry.lineages import end_version, lose_versions

    def keeping(original: Callable[..., Any]) -> Callable[..., Any]:
        def same(*given: Any, **named: Any) -> Any:
            result = original(*given, **named)
            RegisteredModel.objects.update(generation=1)
            return result

        return same

    return [
        swap("deletion.state.end_version", keeping(end_version)),
        swap("registration.upload.lose_versions", keeping(lose_versions)),
    ]


def one_strike() -> list[Any]:
    from ml_platform.services.registration import upload as version_upload

    return [patch.object(version_upload, "SECOND_LOOK_SECONDS", 0.0)]


def lease_not_asked() -> list[Any]:
    from ml_platform.services.operations.work import Work

    return [patch.object(Work, "require_lease", nothing)]


def lease_not_kept() -> list[Any]:
    from ml_platform.models import Operation
    from ml_platform.services.operations import store as operations

    return [patch.object(operations, "due", lambda now: Operation.objects.live())]


def no_replay() -> list[Any]:
    return [swap("deletion.delete.answered_before", nothing)]


def no_heir() -> list[Any]:
    from ml_platform.services.deletion import steps as deletion_steps
    from ml_platform.services.operations.workflow import Next

    original = deletion_steps._choose

    def forgetful(*given: Any) -> Any:
        outcome = original(*given)
        return replace(outcome, change=None) if isinstance(outcome, Next) else outcome

    return [swap("deletion.steps._choose", forgetful)]


def users_not_asked() -> list[Any]:
    from ml_platform.services.removal.references import Pointers

    return [
        swap(f"removal.references.{name}", lambda *_, **__: Pointers())
        for name in ("pointers_of_models", "pointers_of_the_rest")
    ]
