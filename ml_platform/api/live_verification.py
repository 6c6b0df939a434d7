"""`?verify=live`: read the models of one page from Vertex AI now, within a deadline and a limit."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import zip_longest

from ml_platform.actions.caller import Caller
from ml_platform.api.schemas.base import Json, when
from ml_platform.api.schemas.model_list import Row, newest_run
from ml_platform.cloud.answers import Absent, Answer, Present
from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import RemoteModel
from ml_platform.conf import require_settings
from ml_platform.models import TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.states import RegistryState
from ml_platform.services.installation.identity import Identity, identity
from ml_platform.services.registry.live_limit import take_reads
from ml_platform.services.registry.registry_state import OTHER_FILES
from ml_platform.services.registry.verification import ForeignVersion, verify_model_in_vertex_ai

DEADLINE = 8.0
"""Seconds after which a model without an answer is unknown."""
AT_ONCE = 16


def verify_page(rows: Sequence[Row], items: Sequence[Json], caller: Caller) -> bool:
    """Write the answer of Vertex AI on each newest version into the items; True if all answered.

    No answer is stored, because only a sweep may confirm that a model is missing (law 3).
    """
    require_settings()
    us = identity()
    runs = [run for row in rows if (run := newest_run(row)) is not None]
    reads, beyond = take_reads(wanted=len(runs), user_id=caller.actor.user_id)
    pool = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="verify")
    asked = [pool.submit(_read, run, us) for run in runs[:reads]]
    wait(asked, timeout=DEADLINE)
    pool.shutdown(wait=False, cancel_futures=True)
    now = when(database_now())
    complete = True
    for item, future in zip_longest(items, asked):
        verified, reason, answered = _said(future) if future else (None, beyond, False)
        if verified and item["registry_state"] == RegistryState.CHANGED:
            verified, reason = False, OTHER_FILES
        item["registry_verified"], item["registry_reason"] = verified, reason
        item["verified_at"] = now if answered else item["verified_at"]
        complete = complete and answered
    return complete


def _read(run: TrainingRun, us: Identity) -> Answer[RemoteModel]:
    with channels.sent_once():  # the limit counts reads
        return verify_model_in_vertex_ai(run=run, us=us)


def _said(future: Future[Answer[RemoteModel]]) -> tuple[bool | None, str, bool]:
    """Whether it is verified, why not, and whether Vertex AI answered. A foreign version is there,
    so it is not missing (law 3)."""
    if not future.done() or future.cancelled():
        return None, f"Vertex AI did not answer within {DEADLINE:.0f} seconds.", False
    answer = future.result()
    if isinstance(answer, Present):
        return True, "", True
    if isinstance(answer, Absent):
        return False, answer.reason, True
    return None, answer.reason, answer.code == ForeignVersion.code
