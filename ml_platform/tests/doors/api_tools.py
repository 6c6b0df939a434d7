"""Callers of the API for its tests: members with rights, strangers, tokens; and its contract."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.test import Client
from jsonschema_rs import Draft202012Validator

from ml_platform.models import Project
from ml_platform.models.clock import database_now
from ml_platform.services.access.rights import Right
from ml_platform.tests.factories import UserFactory


def member_of(project: Project | None, *rights: Right, name: str = "") -> Any:
    """A user who belongs to the project and has these rights, all of them when none is named."""
    user = UserFactory.create(**({"username": name} if name else {}))
    if project is not None:
        project.members.add(user)
    codes = [right.partition(".")[2] for right in rights or Right]
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    return get_user_model().objects.get(pk=user.pk)


def bearer(user: Any) -> Client:
    """A program of the user's, with a token of its own."""
    from ml_platform.api.http.auth import make_token

    _, token = make_token(user=user, name="tests", days=1, now=database_now())
    return Client(HTTP_AUTHORIZATION=f"Bearer {token}")


def logged_in(user: Any) -> Client:
    """A browser of the user's, held to its CSRF token."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


def post(client: Client, path: str, body: Any = None, **headers: Any) -> Any:
    """A POST as programs send it."""
    return client.post(
        path, data={} if body is None else body, content_type="application/json", **headers
    )


@lru_cache(maxsize=1)
def contract() -> dict[str, Any]:
    """The contract as the tests' host serves it."""
    from ml_platform.api.api import api
    from ml_platform.api.http.contract import openapi

    return openapi(api, "/api/")


def keeps_contract(answer: Any, path: str, method: str = "get") -> None:
    """Hold an answer to the contract: its status is known there, its body as the schema says."""
    responses = contract()["paths"][path][method]["responses"]
    assert str(answer.status_code) in responses, (answer.status_code, answer.content[:300])
    content = responses[str(answer.status_code)].get("content", {})
    kind = answer["Content-Type"].partition(";")[0]
    assert kind in content, (kind, list(content))
    schema = {**content[kind]["schema"], "components": contract()["components"]}
    errors = [str(error) for error in Draft202012Validator(schema).iter_errors(answer.json())]
    assert errors == [], errors[:2]


def write_snapshot() -> None:
    """Write the contract down as it is now."""
    path = Path(__file__).parents[1] / "snapshots" / "openapi.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(contract(), indent=1, sort_keys=True) + "\n")
