"""Event: one committed change or one recorded refusal."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from ml_platform.conf import project_model

from .database import PlatformModel
from .states import PERSON_NAME, EventKind


class Event(PlatformModel):
    """What happened, to what and by whom. It is written once, never changed but for `sent`
    and the name of a former user (`anonymise_user`), and survives its subject.

    `seq` is unique and grows with each insert into this database; a number is never used again. It
    may skip numbers, because a transaction that was rolled back has used some. Concurrent
    transactions may commit in another order than they inserted, so an event can become visible
    after one with a higher `seq`. A reader that follows the log must therefore mark each event that
    it has handled, and not only remember the highest `seq`. The events of one operation have the
    order of their commits: each of its transactions writes the operation's row first.
    """

    seq = models.BigAutoField(primary_key=True)
    kind = models.CharField(max_length=32, choices=EventKind.choices)
    project = models.ForeignKey(
        project_model(),
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
    )
    subject_type = models.CharField(max_length=32, blank=True, default="")
    subject_id = models.CharField(max_length=64, blank=True, default="")
    subject_name = models.CharField(max_length=255, blank=True, default="")
    # Without a constraint: the log keeps the id of a row that is gone, and takes no lock on it.
    lineage = models.ForeignKey(
        "ml_platform.RegisteredModel",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="events",
        help_text="The lineage that the subject belongs to.",
    )
    operation = models.ForeignKey(
        "ml_platform.Operation",
        null=True,
        blank=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="events",
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    actor_label = models.CharField(max_length=PERSON_NAME, blank=True, default="")
    origin = models.CharField(
        max_length=16, blank=True, default="", help_text="As of an operation, or sweep."
    )
    before = models.JSONField(default=dict, blank=True, help_text="The fields before the change.")
    after = models.JSONField(default=dict, blank=True, help_text="The fields after it.")
    at = models.DateTimeField(db_default=Now())
    sent = models.BooleanField(
        default=True, db_default=True, help_text="Whether no signal has to be sent for it any more."
    )

    class Meta:
        indexes = [
            models.Index(fields=["project", "-seq"], name="mlp_event_project"),
            models.Index(fields=["subject_type", "subject_id", "-seq"], name="mlp_event_subject"),
            models.Index(fields=["lineage", "-seq"], name="mlp_event_lineage"),
            models.Index(fields=["operation", "-seq"], name="mlp_event_operation"),
            models.Index(fields=["seq"], condition=Q(sent=False), name="mlp_event_unsent"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.subject_name}"
