"""`manage.py create_api_token`: create, list and revoke the bearer tokens of a user."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model

from ml_platform.api.http.auth import make_token
from ml_platform.errors import Invalid, NotFound
from ml_platform.management.base import PlatformCommand
from ml_platform.models import ApiToken
from ml_platform.models.clock import database_now

LONGEST = 3650


class Command(PlatformCommand):
    help = "Create a bearer token of a user for the API. It is shown once and stored hashed."
    needs_cloud = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add our options."""
        parser.add_argument("username")
        parser.add_argument("--name", default="", help="what the token is for")
        parser.add_argument("--days", type=int, default=90, help="days it is valid (90)")
        parser.add_argument("--list", action="store_true", help="show the user's tokens")
        parser.add_argument("--revoke", type=int, metavar="ID", help="revoke this token")

    def work(self, **options: Any) -> int:
        """Make, list or revoke."""
        table, name = get_user_model(), options["username"]
        users = table._default_manager.filter(is_active=True)  # noqa: SLF001 - Django's documented name
        user = users.filter(**{table.USERNAME_FIELD: name}).first()
        if user is None:
            raise NotFound(
                f"There is no active user {name!r}.", advice="Give the name that they log in with."
            )
        if options["list"]:
            self._list(user)
        elif options["revoke"] is not None:
            self._revoke(user, options["revoke"])
        else:
            self._make(user, options["name"], options["days"])
        return 0

    def _make(self, user: Any, name: str, days: int) -> None:
        if not 1 <= days <= LONGEST:
            raise Invalid(
                f"A token is valid for 1 to {LONGEST} days, not {days}.",
                advice="Give another number as --days.",
            )
        row, token = make_token(user=user, name=name[:100], days=days, now=database_now())
        self.stdout.write(token)
        self.stderr.write(
            f"Token {row.pk} of {user}, until {row.expires_at:%Y-%m-%d}. It is not shown again."
        )

    def _list(self, user: Any) -> None:
        now = database_now()
        for row in ApiToken.objects.filter(user=user).order_by("pk"):
            state = "revoked" if row.revoked_at else "expired" if row.expires_at <= now else "valid"
            used = f"{row.last_used_at:%Y-%m-%d %H:%M}" if row.last_used_at else "never"
            self.stdout.write(
                f"{row.pk}  {row.name or '-'}  {state}, until {row.expires_at:%Y-%m-%d}, "
                f"last used {used}"
            )

    def _revoke(self, user: Any, token_id: int) -> None:
        now = database_now()
        mine = ApiToken.objects.valid(now=now).filter(user=user, pk=token_id)
        if not mine.update(revoked_at=now):
            raise NotFound(f"{user} has no valid token {token_id}.", advice="See --list.")
        self.stdout.write(f"Token {token_id} is revoked.")
