"""What the demo runs on: its own database, a local cloud, and settings that name both."""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

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
from ml_platform.services.sweeps.sweep import sweep

from .incident import load_incident
from .incident_endpoints import start_deploy
from .stage import actor_of, load_empty
from .training import load_training

DATABASE = "db.sqlite3"
USER = "demo"


def _load_incident_under_way(*, cloud: LocalCloud, user: AbstractBaseUser, now: datetime) -> None:
    load_incident(cloud=cloud, user=user, now=now)
    # A sweep does not compare a service that a deploy changes, and a model is reported missing by
    # the second sweep only.
    sweep(actor=actor_of(user), clock=database_now)
    start_deploy(cloud=cloud, actor=actor_of(user), now=now)


SCENARIOS: Mapping[str, Callable[..., None]] = {
    "incident": _load_incident_under_way,
    "training": load_training,
    "empty": load_empty,
}
"""Each fills an empty database and an empty local cloud."""


class PortTaken(Conflict):
    """Another process listens on that port."""

    code = "port_taken"


@contextmanager
def local_cloud(*, port: int) -> Iterator[LocalCloud]:
    """Run a local cloud on `port` and the next one (0: free ones), and put it into the settings.

    :raises PortTaken: one of them is busy; no server was started.
    :raises Invalid: `port` is the highest port, so it has no successor.
    """
    current = require_settings()
    try:
        cloud = LocalCloud(
            project=current.PROJECT_ID,
            location=current.LOCATION,
            grpc_port=port,
            http_port=port and port + 1,
        ).start()
    except (Unusable, PortBusy) as error:
        kind = PortTaken if isinstance(error, PortBusy) else Invalid
        raise kind(str(error), advice="Choose others with --cloud-port.") from error
    try:
        change_settings(
            LOCAL_CLOUD=cloud.grpc_target,
            LOCAL_CLOUD_HTTP=cloud.http_url,
            WEBHOOK_CERTS_URL=f"{cloud.http_url}/oauth2/v1/certs",
        )
        yield cloud
    finally:
        cloud.stop()


def change_settings(**changes: Any) -> None:
    """Change these keys of `ML_PLATFORM`."""
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, **changes}
    setting_changed.send(sender=None, setting="ML_PLATFORM", value=settings.ML_PLATFORM, enter=True)


@contextmanager
def database(folder: Path) -> Iterator[None]:
    """Use a new SQLite database in that folder; it replaces that of the last demo there.

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
    """Make the demo's user, a superuser; returns it and its new password."""
    password = secrets.token_urlsafe(9)
    users = get_user_model()._default_manager  # noqa: SLF001 - Django's documented name
    return users.create_superuser(USER, "", password), password
