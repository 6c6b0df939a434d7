"""Who asks: a user who sees all projects, with a token and a session."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth import get_user_model
from django.test import Client
from django.utils.crypto import get_random_string

from ml_platform.api.http.auth import make_token
from ml_platform.models.clock import database_now


def make_caller() -> tuple[str, str]:
    """Make one; returns the values of the headers Authorization and Cookie."""
    user = get_user_model().objects.create_superuser("bench", password=get_random_string(9))
    _, token = make_token(user=user, name="bench", days=1, now=database_now())
    client = Client()
    client.force_login(user)
    name = settings.SESSION_COOKIE_NAME
    return f"Bearer {token}", f"{name}={client.cookies[name].value}"
