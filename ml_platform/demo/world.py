"""The demo's world in this process: its own database, a local cloud, settings that name both."""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.management import call_command
from django.core.signals import setting_changed
from django.db import connections

from ml_platform.conf import require_settings
from ml_platform.errors import Conflict, Invalid, Misconfigured
from ml_platform.localcloud import LocalCloud, PortBusy, Unusable
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps.sweep import sweep

from . import under_way
from .empty import load_empty
from .incident import load_incident
from .training import load_training

DATABASE = "db.sqlite3"
USER = "demo"


class Scenario(Protocol):
    """What fills an empty database and an empty local cloud."""

    def __call__(self, *, cloud: LocalCloud, user: AbstractBaseUser, now: datetime) -> None:
        """Fill them."""


def _load_incident_under_way(*, cloud: LocalCloud, user: AbstractBaseUser, now: datetime) -> None:
    load_incident(cloud=cloud, user=user, now=now)
    actor = Actor(label=user.get_username(), origin="page", user_id=user.pk)
    # What is deployed is not judged meanwhile; and a model is gone only at the second look.
    sweep(actor=actor, clock=database_now)
    under_way.deploy(cloud=cloud, actor=actor, now=now)


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {"incident": _load_incident_under_way, "training": load_training, "empty": load_empty}
)


class PortTaken(Conflict):
    """Somebody else listens there."""

    code = "port_taken"


@contextmanager
def local_cloud(*, port: int) -> Iterator[LocalCloud]:
    """A local cloud on `port` and the one after it, 0 for free ones, that our settings name.

    :raises PortTaken: one of them is busy; nothing was started.
    :raises Invalid: there is none after `port`.
    """
    current = require_settings()
    try:
        cloud = LocalCloud(
            project=current.PROJECT_ID,
            location=current.LOCATION,
            grpc_port=port,
            http_port=port and port + 1,
        ).start()
    except Unusable as wrong:
        raise Invalid(str(wrong), advice="Choose others with --cloud-port.") from wrong
    except PortBusy as busy:
        raise PortTaken(str(busy), advice="Choose others with --cloud-port.") from busy
    try:
        _change_settings(
            LOCAL_CLOUD=cloud.grpc_target,
            LOCAL_CLOUD_HTTP=cloud.http_url,
            WEBHOOK_CERTS_URL=f"{cloud.http_url}/oauth2/v1/certs",
        )
        yield cloud
    finally:
        cloud.stop()


def name_site(url: str) -> None:
    """Have the settings say under which base URL this site is reached."""
    _change_settings(PUBLIC_URL=url)


def _change_settings(**changes: Any) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, **changes}
    setting_changed.send(sender=None, setting="ML_PLATFORM", value=settings.ML_PLATFORM, enter=True)


@contextmanager
def database(folder: Path) -> Iterator[None]:
    """A fresh SQLite database in that folder, in place of the one of the last demo there.

    :raises Misconfigured: the settings name another kind of database, which a demo never touches.
    :raises Conflict: another demo runs in that folder.
    """
    default = connections["default"]
    if default.vendor != "sqlite":
        raise Misconfigured(
            f"The demo brings its own SQLite database, and these settings name {default.vendor}.",
            advice="Run it with DJANGO_SETTINGS_MODULE=ml_platform.demo.settings.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"Another demo runs in {folder}.",
                advice="End it, or start this one in another directory.",
            ) from None
        for suffix in ("", "-wal", "-shm"):
            (folder / f"{DATABASE}{suffix}").unlink(missing_ok=True)
        default.close()
        # All threads' connections share this dict, which is how Django's own test runner does it.
        default.settings_dict["NAME"] = str(folder / DATABASE)
        try:
            call_command("migrate", verbosity=0)
            yield
        finally:
            connections.close_all()


def make_user() -> tuple[AbstractBaseUser, str]:
    """The demo's one user, who may do everything, and a password that is new each time."""
    password = secrets.token_urlsafe(9)
    users = get_user_model()._default_manager  # noqa: SLF001 - Django's documented name
    user: AbstractBaseUser = users.create_superuser(USER, "", password)
    return user, password
