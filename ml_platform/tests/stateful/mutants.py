"""Defects seeded on purpose, one at a time: after how many histories or kills is each caught?

`python -m ml_platform.tests.stateful.mutants [--only NAME] [--limit 400]`
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from .boundaries import BrokenInvariant
from .ground import standing

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

PATH = "ml_platform.services"


@dataclass(frozen=True, slots=True)
class Mutant:
    """A defect: what is wrong, and what replaces what. `kills` names the scenario that finds it,
    '' where histories do."""

    what: str
    patches: Callable[[], list[Any]]
    kills: str = ""


def _nothing(*_: Any, **__: Any) -> None:
    """In place of what must not be left out."""


def _swap(target: str, value: Any) -> Any:
    return patch(f"{PATH}.{target}", value)


def _prefix_without_slash() -> list[Any]:
    from ml_platform.services.artifacts import deletable_prefix as original

    def cut(**given: Any) -> Any:
        prefix = original(**given)
        return prefix and replace(prefix, key=prefix.key.rstrip("/"))

    return [_swap("deletion.deletable_prefix", cut)]


def _denied_is_gone() -> list[Any]:
    from ml_platform.cloud import channels
    from ml_platform.cloud.errors import translate as original
    from ml_platform.errors import CloudAbsent, CloudDenied

    def guess(error: Exception, method: str) -> Any:
        ours = original(error, method)
        return CloudAbsent(str(ours)) if isinstance(ours, CloudDenied) else ours

    return [patch.object(channels, "translate", guess)]


def _parent_for_a_version() -> list[Any]:
    from ml_platform.cloud import vertex

    return [
        patch.object(vertex, "delete_model_version", lambda name: vertex.delete_model(name.bare))
    ]


def _no_lock() -> list[Any]:
    from ml_platform.services import operations

    original = operations._columns

    def unlocked(subject: Any, actor: Any) -> Any:
        return original(replace(subject, lineage_key="", service_key=""), actor)

    return [_swap("operations._columns", unlocked)]


def _silent_reupload() -> list[Any]:
    from ml_platform.cloud import vertex
    from ml_platform.cloud.names import ModelName
    from ml_platform.errors import CloudAbsent
    from ml_platform.services.labels import labels_for
    from ml_platform.services.verification import find_version as original

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

    return [_swap("deploy_steps.find_version", helpful)]


def _not_asked_whose() -> list[Any]:
    return [
        _swap("remote_service.belongs_to", lambda *_: True),
        _swap("undeployment.belongs_to", lambda *_: True),
    ]


def _first_page_only() -> list[Any]:
    from ml_platform.cloud import channels

    original = channels.rpc_pages

    def first(*given: Any) -> Iterator[Any]:
        yield next(original(*given))

    return [patch.object(channels, "rpc_pages", first)]


def _row_after_cloud_run() -> list[Any]:
    from ml_platform.models import DeployedEndpoint
    from ml_platform.services.endpoint_rows import mark_deploying as original

    def late(**given: Any) -> None:
        original(**given)
        DeployedEndpoint.objects.filter(service_name=given["service"], is_active=False).update(
            state="inactive", intended_run=None
        )

    return [_swap("deployment.mark_deploying", late), _swap("deploy_steps.mark_deploying", late)]


def _inactive_before_gone() -> list[Any]:
    from ml_platform.services.endpoint_rows import record_stopped

    return [_swap("undeployment.mark_undeploying", record_stopped)]


def _step_of(kind: str, name: str, **changes: Any) -> list[Any]:
    """One step of a recipe, changed."""
    from ml_platform.services.recipes import RECIPES

    recipe = RECIPES[kind]
    steps = tuple(replace(s, **changes) if s.name == name else s for s in recipe.steps)
    return [patch.dict(RECIPES, {kind: replace(recipe, steps=steps)})]


def _mark_is_left() -> list[Any]:
    from ml_platform.services.recipes import RECIPES

    recipe = replace(RECIPES["delete"], on_failure=_nothing, on_cancel=_nothing)
    return [patch.dict(RECIPES, {"delete": recipe})]


def _swallowed() -> list[Any]:
    from ml_platform.errors import CloudUnavailable
    from ml_platform.services.artifacts import Size
    from ml_platform.services.artifacts import delete_chunk as original

    def cheerful(**given: Any) -> Size:
        try:
            return original(**given)
        except CloudUnavailable:
            return Size(0, 0)

    return [_swap("deletion.delete_chunk", cheerful)]


def _same_generation() -> list[Any]:
    from ml_platform.models import RegisteredModel
    from ml_platform.services import deletion
    from ml_platform.services.lineages import lose_versions

    def keeping(original: Callable[..., Any]) -> Callable[..., Any]:
        def same(*given: Any, **named: Any) -> Any:
            result = original(*given, **named)
            RegisteredModel.objects.update(generation=1)
            return result

        return same

    return [
        _swap("deletion._forget", keeping(deletion._forget)),
        _swap("version_upload.lose_versions", keeping(lose_versions)),
    ]


def _one_strike() -> list[Any]:
    from ml_platform.services import version_upload

    return [patch.object(version_upload, "SECOND_LOOK_SECONDS", 0.0)]


def _lease_not_asked() -> list[Any]:
    from ml_platform.services.operations import Work

    return [patch.object(Work, "require_lease", _nothing)]


def _lease_not_kept() -> list[Any]:
    from ml_platform.models import Operation
    from ml_platform.services import operations

    return [patch.object(operations, "_due", lambda now: Operation.objects.live())]


def _no_replay() -> list[Any]:
    return [_swap("deletion.answered_before", _nothing)]


def _no_heir() -> list[Any]:
    from ml_platform.services import deletion
    from ml_platform.services.engine import Done

    original = deletion._choose

    def forgetful(*given: Any) -> Any:
        outcome = original(*given)
        return replace(outcome, change=None) if isinstance(outcome, Done) else outcome

    return [_swap("deletion._choose", forgetful)]


MUTANTS: Mapping[str, Mutant] = {
    "prefix-without-slash": Mutant(
        "runs/1 is deleted as a prefix, and runs/10 with it", _prefix_without_slash
    ),
    "403-is-gone": Mutant("permission denied is read as not found", _denied_is_gone),
    "parent-for-a-version": Mutant(
        "DeleteModel is called where one version was meant", _parent_for_a_version
    ),
    "no-lock": Mutant("operations hold neither lineage nor service", _no_lock),
    "no-mark": Mutant(
        "a version is destroyed before it is marked", lambda: [_swap("deletion._mark", _nothing)]
    ),
    "silent-reupload": Mutant("a deploy uploads a model that is gone", _silent_reupload),
    "not-asked-whose": Mutant("a service is changed whosever it is", _not_asked_whose),
    "one-strike": Mutant("a parent not found once is lost", _one_strike),
    "young-is-gone": Mutant(
        "what is too young to show is taken for gone",
        lambda: [_swap("deletion.too_young", lambda *_, **__: 0.0)],
    ),
    "first-page-only": Mutant("a listing ends at its first page", _first_page_only),
    "row-after-cloud-run": Mutant("the endpoint's row knows nothing before", _row_after_cloud_run),
    "inactive-before-gone": Mutant(
        "an endpoint is inactive before its service is gone", _inactive_before_gone
    ),
    "no-look-up": Mutant(
        "an upload of unknown outcome is sent again",
        lambda: _step_of("register", "upload", look_up=""),
    ),
    "mark-is-left": Mutant("a failed deletion leaves its mark", _mark_is_left),
    "swallowed": Mutant("errors of Cloud Storage are swallowed", _swallowed),
    "same-generation": Mutant("the generation does not grow", _same_generation),
    "cache-not-recounted": Mutant(
        "a deletion leaves the version cache",
        lambda: [_swap("deletion.sync_version_cache", _nothing)],
    ),
    "lease-not-asked": Mutant("a stalled worker sends its effect", _lease_not_asked),
    "lease-not-kept": Mutant("two workers go on with one operation", _lease_not_kept),
    "no-replay": Mutant("a request repeated is a new one", _no_replay, "delete-last"),
    "no-heir": Mutant("a moved alias is not written down", _no_heir, "delete-one-of-three"),
}


@contextmanager
def seeded(name: str) -> Iterator[None]:
    """Live with one defect."""
    patches = MUTANTS[name].patches() if name else []
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in reversed(patches):
            one.stop()


def hunt(cloud: LocalCloud, name: str, limit: int) -> tuple[int, str]:
    """How many histories, or kill points, it takes to catch a defect (0: it lives), and by what."""
    from .histories import play_history

    if MUTANTS[name].kills:
        return _hunt_by_kills(cloud, name)
    with seeded(name):
        for seed in range(limit):
            try:
                play_history(cloud, seed)
            except (BrokenInvariant, Exception) as caught:  # noqa: BLE001 - caught is caught
                return seed + 1, _what(caught)
    return 0, "lives"


def _what(caught: BaseException) -> str:
    if isinstance(caught, ExceptionGroup):
        caught = caught.exceptions[0]
    kind = "" if isinstance(caught, BrokenInvariant) else f"{type(caught).__name__}: "
    return f"{kind}{caught}".partition(";")[0][:60]


def _hunt_by_kills(cloud: LocalCloud, name: str) -> tuple[int, str]:
    from .kill import harness

    with harness(cloud, mutant=name) as walker, seeded(name):
        try:
            walk = walker.walk(MUTANTS[name].kills, until_failure=True)
        except RuntimeError as caught:
            return 1, str(caught)[:60]
    return (walk.points if walk.failures else 0), "".join(walk.failures)[:60]


def main(arguments: Sequence[str]) -> int:
    """Hunt; 0 when every defect was caught."""
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.stateful.mutants")
    parser.add_argument("--only", action="append", default=[], choices=MUTANTS)
    parser.add_argument("--limit", type=int, default=400, help="histories for each")
    asked = parser.parse_args(arguments)
    alive = 0
    with standing("sqlite") as cloud:
        for name in asked.only or MUTANTS:
            started = time.monotonic()
            number, what = hunt(cloud, name, asked.limit)
            alive += not number
            unit = "kills" if MUTANTS[name].kills else "histories"
            found = f"{number:4} {unit:9}" if number else "     LIVES     "
            seconds = time.monotonic() - started
            print(f"{name:22} {found} {seconds:4.0f} s  {what}", flush=True)
    print(f"{alive} alive")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
