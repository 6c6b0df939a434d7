"""What the plan of a deletion says about files: when they go, who points there, what brings them
back."""

from __future__ import annotations

from ml_platform.cloud import storage
from ml_platform.cloud.answers import Absent, Present, ask
from ml_platform.conf import require_settings
from ml_platform.services.removal import references
from ml_platform.services.removal.references import Pointers
from ml_platform.services.removal.steps import PART

DAY = 86_400
AT_ONCE = "with the deletion, after everything that may refer to them was read again"
LATER = (
    f"in the background, because there are more than {PART} models: all their versions are read "
    f"first, {PART} models a minute, so not all users are known yet"
)


def read_users() -> tuple[Pointers, str]:
    """Read what may use files, as far as a preview may; returns it and when the files will go.

    The versions of more than PART models are left to the removal.

    :raises CloudUnavailable: something could not be read completely.
    """
    models = references.list_models(at_most=PART, heartbeat=lambda: None)
    pointers = references.pointers_of_the_rest(heartbeat=lambda: None)
    if models is None:
        return pointers, LATER
    for name, found in references.pointers_of_models(
        models, heartbeat=lambda: None
    ).by_name.items():
        pointers.by_name[name] += found
    return pointers, AT_ONCE


def what_brings_back() -> str:
    """What versioning and soft delete of the bucket keep of deleted files, and until when.

    https://cloud.google.com/storage/docs/object-versioning
    https://cloud.google.com/storage/docs/soft-delete
    """
    answer = ask(lambda: storage.get_bucket(require_settings().BUCKET))
    if not isinstance(answer, Present):
        why = "it does not exist" if isinstance(answer, Absent) else answer.reason
        return f"Unknown, because the bucket's settings could not be read: {why}"
    bucket = answer.value
    ways = []
    if bucket.versioning:
        ways.append(
            "Object versioning is on: they stay as noncurrent versions, until those are deleted "
            "by the bucket's lifecycle rules or by a person."
        )
    if seconds := bucket.soft_delete_seconds:
        which = "their noncurrent versions are" if bucket.versioning else "they are"
        ways.append(f"Soft delete is on: until {seconds / DAY:g} days after {which} deleted.")
    return " ".join(ways) or "Nothing: the bucket has neither object versioning nor soft delete."
