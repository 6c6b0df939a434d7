"""Who calls is known by the token, whichever of Google's credentials brought it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import google.auth.compute_engine
import google.auth.crypt
import google.auth.jwt
import google.auth.transport.grpc
import google.auth.transport.requests
import grpc
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import Unauthenticated
from google.auth.credentials import Credentials
from google.cloud import storage
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.oauth2 import service_account

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.core.access.callers import access_token

from .conftest import PARENT, ROBOT


def key_file(folder: Path, cloud: LocalCloud, email: str = ROBOT) -> Path:
    """A service account's key as the IAM console hands it out, with our token endpoint."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path = folder / "key.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "demo-project",
                "private_key_id": "1",
                "private_key": pem.decode(),
                "client_email": email,
                "token_uri": f"{cloud.http_url}/token",
            }
        )
    )
    return path


def bearer(token: str) -> list[tuple[str, str]]:
    """gRPC metadata with a token."""
    return [("authorization", f"Bearer {token}")]


def of_account(email: str) -> list[tuple[str, str]]:
    """gRPC metadata with a fresh access token of an account."""
    return bearer(access_token(email))


def last_caller(cloud: LocalCloud) -> str:
    """Who made the newest recorded call."""
    return cloud.effects.calls()[-1].caller


def test_a_call_without_credentials_has_no_caller(models: Any, cloud: LocalCloud) -> None:
    list(models.list_models(parent=PARENT))
    assert last_caller(cloud) == ""


def test_each_kind_of_token_names_its_account(
    models: Any, cloud: LocalCloud, tmp_path: Path
) -> None:
    signer = google.auth.crypt.RSASigner.from_service_account_file(str(key_file(tmp_path, cloud)))
    claims = {"iss": ROBOT, "sub": ROBOT, "iat": 1, "exp": 1 << 40}
    self_signed = google.auth.jwt.encode(signer, claims).decode()
    for token in (access_token(ROBOT), cloud.identity.token("https://run", ROBOT), self_signed):
        list(models.list_models(parent=PARENT, metadata=bearer(token)))
        assert last_caller(cloud) == ROBOT


@pytest.mark.parametrize(
    "header",
    [
        "Bearer ",
        "Bearer nonsense",
        "Bearer ya29.localcloud-nonsense",
        "Basic cm9ib3Q6",
        f"Bearer {access_token(ROBOT, seconds=-1)}",
        # JSON, but no claims.
        "Bearer ya29.localcloud-W10",
    ],
)
def test_a_malformed_or_expired_token_is_refused_everywhere(
    models: Any, cloud: LocalCloud, header: str
) -> None:
    with pytest.raises(Unauthenticated, match="invalid authentication credentials"):
        list(models.list_models(parent=PARENT, metadata=[("authorization", header)]))
    answer = requests.get(
        f"{cloud.http_url}/storage/v1/b",
        {"project": "demo-project"},
        headers={"Authorization": header},
        timeout=10,
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == 401
    assert [call.outcome for call in cloud.effects.calls()] == ["UNAUTHENTICATED"] * 2


def test_the_metadata_server_gives_the_default_account_s_token(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = cloud.http_url.removeprefix("http://")
    monkeypatch.setenv("GCE_METADATA_HOST", host)
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", host)
    found = google.auth.compute_engine.Credentials()
    found.refresh(google.auth.transport.requests.Request())
    listed(cloud, found)
    assert last_caller(cloud) == cloud.identity.default_email


def test_a_key_file_calls_storage_and_vertex_as_its_account(tmp_path: Path) -> None:
    with LocalCloud(tls_port=0) as cloud:
        key = key_file(tmp_path, cloud)
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        listed(cloud, service_account.Credentials.from_service_account_file(key, scopes=scopes))
        assert last_caller(cloud) == ROBOT
        # Vertex's client signs its own token, without the token endpoint.
        over_tls = grpc.composite_channel_credentials(
            grpc.ssl_channel_credentials(cloud.tls_ca_file.read_bytes()),
            _call_credentials(service_account.Credentials.from_service_account_file(key)),
        )
        with grpc.secure_channel(cloud.tls_target, over_tls) as channel:
            transport = ModelServiceClient.get_transport_class("grpc")(channel=channel)
            list(ModelServiceClient(transport=transport).list_models(parent=PARENT))
        assert last_caller(cloud) == ROBOT


def listed(cloud: LocalCloud, credentials: Credentials) -> None:
    """List buckets with Google's client and these credentials."""
    options = ClientOptions(api_endpoint=cloud.http_url)
    client = storage.Client("demo-project", credentials, client_options=options)
    list(client.list_buckets())
    client.close()


def _call_credentials(found: Any) -> grpc.CallCredentials:
    signed = found.with_always_use_jwt_access(True)
    signed._create_self_signed_jwt("https://aiplatform.googleapis.com/")
    request = google.auth.transport.requests.Request()
    plugin = google.auth.transport.grpc.AuthMetadataPlugin(signed, request)
    return grpc.metadata_call_credentials(plugin)
