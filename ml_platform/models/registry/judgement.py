"""Whether a version's judgement allows to deploy it: its evaluator's word, and a person's.

This is the only definition, once for a row and once as a condition on runs.
"""

from __future__ import annotations

from django.db.models import Q

from ml_platform.models.states import Approval


def allows_deploy(*, is_blessed: bool | None, approval: str) -> bool:
    """Whether it was approved by a person, or blessed by its evaluator and not withdrawn.

    `is_blessed` is None for a version that its evaluator did not judge.
    """
    if approval == Approval.NONE:
        return is_blessed is True
    return approval == Approval.APPROVED


ALLOWS_DEPLOY = Q(approval=Approval.APPROVED) | Q(approval=Approval.NONE, is_blessed=True)
