"""An account that Google lets see only some planes: the sweep knows nothing about the others."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import google.auth.credentials
import grpc
import pytest
from google.oauth2.credentials import Credentials

from ml_platform.cloud.transport import channels
from ml_platform.models import Finding, Sweep
from ml_platform.models.clock import database_now
from ml_platform.models.states import RegistryState
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps.sweep import sweep

from .vertex_rows import managed

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
EMAIL = "platform@demo-project.iam.gserviceaccount.com"
MEMBER = f"serviceAccount:{EMAIL}"
_Details = namedtuple(
    "_Details", ("method", "timeout", "metadata", "credentials", "wait_for_ready", "compression")
)


class _Bearer(grpc.UnaryUnaryClientInterceptor):
    """What call credentials do on a channel over TLS, which the local channel is not."""

    def __init__(self, token: str) -> None:
        self._header = ("authorization", f"Bearer {token}")

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Add the token."""
        metadata = [*(details.metadata or ()), self._header]
        sent = (getattr(details, name, None) for name in _Details._fields)
        return continuation(_Details(*sent)._replace(metadata=metadata), request)


@pytest.fixture
def token(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """All our clients call as the platform's account."""
    from ml_platform.localcloud.core.access.callers import access_token

    caches = (channels._make_client, channels._make_storage_client)
    for cache in caches:
        cache.cache_clear()
    token = access_token(EMAIL)
    with grpc.insecure_channel(cloud.grpc_target) as channel:
        bearing = grpc.intercept_channel(channel, _Bearer(token))
        monkeypatch.setattr(channels, "_local_channel", lambda pid, target: bearing)
        anonymous: Callable[[], Any] = lambda: Credentials(token)  # noqa: E731
        monkeypatch.setattr(google.auth.credentials, "AnonymousCredentials", anonymous)
        yield token
        for cache in caches:
            cache.cache_clear()


ROLES = {
    "vertex": "roles/aiplatform.viewer",
    "gcs": "roles/storage.objectViewer",
    "cloud_run": "roles/run.viewer",
    "scheduler": "roles/cloudscheduler.viewer",
}
ALSO = {"vertex": {"vertex_endpoints"}}
"""The planes that need the role of another one."""


def look() -> Sweep:
    return sweep(actor=Actor(label="ana", origin="command"), clock=database_now)


@pytest.mark.usefixtures("token")
@pytest.mark.parametrize("refused", ["vertex", "gcs", "cloud_run", "scheduler"])
def test_a_plane_that_the_account_may_not_see_is_unknown(
    cloud: LocalCloud, settings: Any, refused: str
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "RETRY_TIMEOUT": 0.0}
    lineage = managed(cloud)
    assert look().status == "complete"
    seen = list(Finding.objects.values())
    for plane, role in ROLES.items():
        if plane != refused:
            cloud.iam.grant(MEMBER, role)
    cloud.iam.restrict(MEMBER)
    done = look()
    unread = {plane for plane in done.planes if not done.planes[plane]["read"]}
    assert unread == {refused} | ALSO.get(refused, set())
    assert done.status == "partial"
    assert "PERMISSION_DENIED" in done.planes[refused]["reason"]
    assert {call.caller for call in cloud.effects.calls()} == {EMAIL}
    assert list(Finding.objects.values()) == seen
    lineage.refresh_from_db()
    assert lineage.registry_state == RegistryState.VERIFIED
