"""Defects of the engine, the record of operations, and what a person may do with them."""

from __future__ import annotations

from itertools import chain

from .defect import Defect, defects_in

SECOND = "services/test_second_worker.py"
LONG = "test_nobody_gets_an_operation_during_a_step_longer_than_its_lease"

DEFECTS: tuple[Defect, ...] = tuple(
    chain(
        defects_in(
            "services/operations/store.py",
            SECOND,
            fence_is_not_raised=('fence=F("fence") + 1', 'fence=F("fence")'),
            claim_before_the_lease_ends=(
                "Q(lease_until__isnull=True) | Q(lease_until__lt=now)",
                "Q(lease_until__isnull=True) | Q(lease_until__lt=lease_end(now))",
            ),
            claim_before_its_time=("Q(next_attempt_at__lte=now)", "Q(pk__isnull=False)"),
        ),
        defects_in(
            "services/cleanup/strays.py",
            f"{SECOND}::{LONG}[strays]",
            strays_are_read_past_the_lease=(
                "look_for_strays(state, write_line, heartbeat=work.renew_lease)",
                "look_for_strays(state, write_line)",
            ),
        ),
        defects_in(
            "services/cleanup/artifacts.py",
            f"{SECOND}::{LONG}[artifacts]",
            marked_runs_are_read_past_the_lease=(
                "_Reasons(heartbeat=work.renew_lease)",
                "_Reasons()",
            ),
        ),
        defects_in(
            "services/removal/steps.py",
            f"{SECOND}::{LONG}[deletion]",
            users_are_read_past_the_lease=(
                "pointers_of_models(batch, heartbeat=work.renew_lease)",
                "pointers_of_models(batch, heartbeat=lambda: None)",
            ),
        ),
        defects_in(
            "services/sweeps/operation.py",
            f"{SECOND}::{LONG}[sweep]",
            planes_are_read_past_the_lease=(
                "clock=work.clock, heartbeat=work.renew_lease)\n    unread",
                "clock=work.clock)\n    unread",
            ),
        ),
        defects_in(
            "services/metrics/days.py",
            f"{SECOND}::{LONG}[metrics]",
            series_are_read_past_the_lease=(
                "        heartbeat()\n        points",
                "        points",
            ),
        ),
        defects_in(
            "services/operations/work.py",
            SECOND,
            renewal_does_nothing=(
                "        if self.lease_until > lease_end(now) -",
                "        if True or self.lease_until > lease_end(now) -",
            ),
            commit_keeps_the_old_lease=('"lease_until": lease_end(now),', ""),
            worker_forgets_its_new_lease=(
                "            setattr(self.operation, name, value)\n        self.lease_until",
                "            setattr(self.operation, name, value)\n        _",
            ),
            commit_ignores_the_fence=(
                "fence=self.fence, status=OperationStatus.RUNNING\n"
                "        )\n"
                "        if not mine.update(**columns)",
                "status=OperationStatus.RUNNING\n        )\n        if not mine.update(**columns)",
            ),
            effect_after_the_lease=(
                "timedelta(seconds=get_settings().CALL_TIMEOUT) > self.lease_until",
                "timedelta(seconds=0) > self.lease_until",
            ),
        ),
    )
)
