"""What a user may do, as Django permissions; `scope` says which projects they see."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from ml_platform.errors import Denied
from ml_platform.models import TrainingRun
from ml_platform.models.states import RunStatus


class Right(StrEnum):
    """The rights of the platform; each is a Django permission of that name."""

    VIEW = "ml_platform.view_registeredmodel"
    TRAIN = "ml_platform.train_registeredmodel"
    DEPLOY = "ml_platform.deploy_registeredmodel"
    DELETE = "ml_platform.delete_registeredmodel"
    ADMINISTER = "ml_platform.administer_registeredmodel"


class RightMissing(Denied):
    """The user lacks a right."""

    code = "right_missing"


def right_to_register(run: TrainingRun) -> Right:
    """The right needed to register the run; few users may overrule its evaluator."""
    return Right.ADMINISTER if run.status == RunStatus.NOT_BLESSED else Right.TRAIN


def has_right(user: Any, right: Right) -> bool:
    """Whether the user has the right; a host's users without permissions have none."""
    may = getattr(user, "has_perm", None)
    return bool(may is not None and may(str(right)))


def right_missing(right: Right) -> RightMissing:
    """The error for a user who lacks the right."""
    return RightMissing(
        f"This needs the permission {right}.",
        advice="Ask an administrator to grant it to you or to a group of yours.",
    )


def require_right(user: Any, right: Right) -> None:
    """Check that the user has the right.

    :raises RightMissing: they lack it.
    """
    if not has_right(user, right):
        raise right_missing(right)
