"""Tokens, their certificates and the metadata server, as Google's own libraries use them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from google.auth import exceptions
from google.auth.transport.requests import Request
from google.oauth2 import id_token

from ml_platform.localcloud import LocalCloud

AUDIENCE = "https://registry.example/hook/"


@pytest.fixture
def transport() -> Iterator[Request]:
    """google-auth's own HTTP transport."""
    with requests.Session() as session:
        yield Request(session)


def certs(cloud: LocalCloud) -> str:
    """Where the certificates are."""
    return f"{cloud.http_url}/oauth2/v1/certs"


def test_googles_verifier_accepts_a_token(cloud: LocalCloud, transport: Request) -> None:
    token = cloud.identity.token(AUDIENCE, "ringer@demo-project.iam.gserviceaccount.com")
    claims = id_token.verify_token(token, transport, audience=AUDIENCE, certs_url=certs(cloud))
    assert claims["iss"] == "https://accounts.google.com"
    assert claims["email"] == "ringer@demo-project.iam.gserviceaccount.com"
    assert claims["email_verified"] is True


def test_googles_verifier_refuses_another_audience_and_an_expired_token(
    cloud: LocalCloud, transport: Request
) -> None:
    other = cloud.identity.token("https://elsewhere.example/")
    old = cloud.identity.token(AUDIENCE, iat=1000, exp=2000)
    for token in (other, old):
        with pytest.raises(exceptions.GoogleAuthError):
            id_token.verify_token(token, transport, audience=AUDIENCE, certs_url=certs(cloud))


def test_a_token_of_another_cloud_is_refused(cloud: LocalCloud, transport: Request) -> None:
    with LocalCloud() as stranger:
        token = stranger.identity.token(AUDIENCE)
    with pytest.raises(exceptions.GoogleAuthError):
        id_token.verify_token(token, transport, audience=AUDIENCE, certs_url=certs(cloud))


def test_the_clouds_clock_does_not_age_tokens(cloud: LocalCloud, transport: Request) -> None:
    cloud.clock.advance(10 * 86400)
    token = cloud.identity.token(AUDIENCE)
    assert id_token.verify_token(token, transport, audience=AUDIENCE, certs_url=certs(cloud))


def test_the_key_set_holds_the_same_key(cloud: LocalCloud) -> None:
    old = requests.get(certs(cloud), timeout=5)
    new = requests.get(f"{cloud.http_url}/oauth2/v3/certs", timeout=5).json()["keys"]
    assert [key["kid"] for key in new] == list(old.json()) == [cloud.identity.key_id]
    assert "max-age" in old.headers["Cache-Control"]


PROGRAM = """
import google.auth
from google.auth.transport.requests import Request
from google.oauth2 import id_token
credentials, project = google.auth.default()
credentials.refresh(Request())
print(project, credentials.valid, credentials.service_account_email)
print(id_token.fetch_id_token(Request(), "https://registry.example/hook/"))
"""


def test_a_program_finds_its_credentials_without_a_key_file(
    cloud: LocalCloud, transport: Request, tmp_path: Path
) -> None:
    host = cloud.http_url.removeprefix("http://")
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.splitlines()
    assert found[0] == f"demo-project True {cloud.identity.default_email}"
    assert id_token.verify_token(found[1], transport, AUDIENCE, certs(cloud))


def test_the_metadata_server_hands_out_id_tokens(cloud: LocalCloud, transport: Request) -> None:
    url = f"{cloud.http_url}/computeMetadata/v1/instance/service-accounts/default/identity"
    flavor = {"Metadata-Flavor": "Google"}
    token = requests.get(url, params={"audience": AUDIENCE}, headers=flavor, timeout=5).text
    claims = id_token.verify_token(token, transport, audience=AUDIENCE, certs_url=certs(cloud))
    assert claims["email"] == cloud.identity.default_email
    assert requests.get(url, headers=flavor, timeout=5).status_code == 400
    assert requests.get(url, params={"audience": AUDIENCE}, timeout=5).status_code == 403
