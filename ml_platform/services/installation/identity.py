"""Who we are to Google: the name in the settings, and the uid of this database."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid5

from ml_platform.conf import get_settings
from ml_platform.models import Installation


@dataclass(frozen=True, slots=True)
class Identity:
    """The values of the labels `mlp_owner` and `mlp_installation` on all that we create."""

    name: str
    uid: str

    def is_another(self, owner: str, installation: str) -> bool:
        """Whether these two labels name another installation; a name without a uid is of a release
        before there were uids."""
        if installation:
            return installation != self.uid
        return bool(owner) and owner != self.name


def current() -> Installation:
    """Return the row of this installation; create it at first use."""
    return Installation.objects.get_or_create(pk=1)[0]


def identity() -> Identity:
    """Return who we are now."""
    return Identity(get_settings().INSTALLATION, current().uid.hex)


def own_uid(text: str) -> UUID:
    """Return the uid that `text` has in this installation: another one derives another uid."""
    return uuid5(current().uid, text)
