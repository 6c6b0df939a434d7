"""An alarm about a whole plane: who sees it, and where it is confirmed."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from ml_platform.models import Finding
from ml_platform.services.access.rights import Right
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.installation.identity import current

from .api_tools import bearer, logged_in, member_of, post

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
BANNER = "A plane is not believed."


def alarm(plane: str = "vertex") -> Finding:
    current()
    now = timezone.now()
    return Finding.objects.create(
        kind=FindingKind.PLANE_SHRUNK, subject=plane, title="Vertex AI lacks 5 of 8 models",
        repair="Confirm it.", evidence={"lacks": 5, "had": 8, "named": ["mr-1", "mr-2"]},
        first_seen_at=now, last_seen_at=now,
    )  # fmt: skip


def test_an_administrator_sees_the_banner_on_every_page_and_confirms_on_the_findings(admin_user):
    row, client = alarm(), logged_in(admin_user)
    client.handler.enforce_csrf_checks = False
    for path in ("/", "/registry-health/", "/operations/"):
        assert BANNER in client.get(path).content.decode()
    page = client.get(f"/registry-health/findings/{row.pk}/").content.decode()
    assert "Confirm that they are gone" in page
    assert client.post(f"/do/confirm-plane/{row.pk}/").status_code == 302
    row.refresh_from_db()
    assert row.status == "repaired"
    assert BANNER not in client.get("/").content.decode()


def test_a_member_neither_sees_nor_confirms_it(admin_user):
    row = alarm()
    member = member_of(None, Right.VIEW, Right.ADMINISTER)
    assert post(bearer(member), f"/api/audit/findings/{row.pk}/confirm/", {}).status_code == 404
    viewer = member_of(None, Right.VIEW)
    assert BANNER not in logged_in(viewer).get("/").content.decode()
    answer = post(bearer(admin_user), f"/api/audit/findings/{row.pk}/confirm/", {})
    assert (answer.status_code, answer.json()["workflow"]) == (200, "confirm-plane")


def test_the_command_shows_first_and_confirms_only_when_told():
    with pytest.raises(CommandError, match="There is no alarm about this plane"):
        call_command("confirm_plane", "gcs")
    row, out = alarm("gcs"), StringIO()
    call_command("confirm_plane", "gcs", stdout=out)
    assert "Among them: mr-1, mr-2." in out.getvalue()
    row.refresh_from_db()
    assert row.status == "open"
    call_command("confirm_plane", "gcs", "--yes", stdout=out)
    row.refresh_from_db()
    assert row.status == "repaired"
