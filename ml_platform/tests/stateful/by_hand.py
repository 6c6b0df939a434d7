"""How a person acts at Google: by its own clients, at once, and refused by an outage as we are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from google.api_core.exceptions import GoogleAPICallError

from ml_platform.cloud.transport import channels

from . import planes

if TYPE_CHECKING:
    from .play import Play


@contextmanager
def by_hand(play: Play) -> Iterator[None]:
    """Inside, Google's clients act for a person: at once, and an outage refuses them too."""
    operations = play.world.cloud.core.operations
    with channels.request_reason("console"), patch.object(operations, "lro_seconds", 0.0):
        try:
            yield
        except GoogleAPICallError as error:
            play.tell(f"  {type(error).__name__}: {error.message}")


def rpc(plane: str, method: str, /, **request: Any) -> Any:
    """One request of Google's own client, without its repeats."""
    return getattr(channels.client(plane), method)(
        request=request, retry=None, metadata=((channels.REASON_HEADER, "console"),)
    )


def blob(name: str) -> Any:
    """An object of the bucket."""
    return channels.storage_client().bucket(planes.BUCKET).blob(name)


def write_object(name: str, data: bytes) -> None:
    """Write an object, whether there is one or not."""
    blob(name).upload_from_string(data, retry=None)


def see(key: str) -> Any:
    """The service as Google's client shows it."""
    return rpc("Services", "get_service", name=f"{channels.location_path()}/services/{key}")
