"""Names of Cloud Run services: made from project and model, short enough, and unique."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from uuid import UUID

from ml_platform.errors import Invalid

LIMIT = 49
"""`service_id` has fewer than 50 characters (google/cloud/run_v2/types/service.py)."""
_HASH = 10
_PATTERN = re.compile(rf"[a-z](?:[a-z0-9-]{{0,{LIMIT - 2}}}[a-z0-9])?")
_NUMBERS = 100
"""How many names of one lineage are recognized."""
_PROJECT_SHARE = 8
"""The least characters that the project keeps if both names together are too long."""


def service_name(
    *, project: str, model: str, installation: str, lineage: UUID, number: int = 1
) -> str:
    """Return the name of a lineage's service; `number` distinguishes its services.

    The words are for people and may be cut. The hash at the end is made from the ids: lineages with
    similar words, and installations that share a Google project, get different names.
    """
    words = LIMIT - _HASH - 1
    first, second = _slug(project), _slug(model)
    if len(first) + 1 + len(second) > words:
        first = first[: max(_PROJECT_SHARE, words - 1 - len(second))].strip("-")
    readable = "-".join(part for part in (first, second) if part)
    if not readable[:1].isalpha():
        readable = f"m-{readable}"
    return f"{readable[:words].strip('-')}-{_digest(installation, lineage, number)}"


def is_made_for(name: str, *, installation: str, lineage: UUID) -> bool:
    """Whether `service_name` made that name for the lineage, from any display name."""
    numbers = range(1, _NUMBERS + 1)
    return name[-_HASH:] in {_digest(installation, lineage, number) for number in numbers}


def _digest(installation: str, lineage: UUID, number: int) -> str:
    identity = f"{installation}/{lineage.hex}/{number}"
    return hashlib.sha256(identity.encode()).hexdigest()[:_HASH]


def check_service_name(text: str) -> str:
    """Return `text` if Cloud Run accepts it as the name of a service.

    :raises Invalid: it does not.
    """
    if not _PATTERN.fullmatch(text):
        raise Invalid(
            f"{text!r} is not a valid name of a Cloud Run service.",
            code="bad_service_name",
            advice=f"Use 1 to {LIMIT} of a-z, 0-9 and hyphen, a letter first, no hyphen last.",
        )
    return text


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
