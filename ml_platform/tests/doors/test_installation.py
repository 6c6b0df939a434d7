"""The confirmation of an installation through its doors: the banner, its page, the command."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client

from ml_platform.cloud.transport import channels
from ml_platform.models import Installation, Operation
from ml_platform.models.clock import database_now
from ml_platform.services.installation.identity import current
from ml_platform.services.installation.marker import InstallationUnconfirmed, require_ours
from ml_platform.services.operations.worker import resume_operations
from ml_platform.tests.factories import ProjectFactory
from ml_platform.tests.services.installations import MARKER, marker_of
from ml_platform.tests.services.world import BUCKET

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.django_db
PAGE = "/registry-health/installation/"
BANNER = "Nothing is deleted at Google."
PAGES = ("/", "/registry-health/", "/operations/", "/projects/1/training/", "/no-such-page/")


@pytest.fixture
def stopped(cloud: LocalCloud) -> str:
    """Another database's marker is in our bucket, and a check has found it."""
    channels.storage_client().create_bucket(BUCKET)
    require_ours(clock=database_now)
    current_uid = current().uid.hex
    cloud.storage.write(BUCKET, MARKER, b'{"uid": "abc", "nonce": "1", "name": "shop"}')
    Installation.objects.update(written_at=None)
    with pytest.raises(InstallationUnconfirmed):
        require_ours(clock=database_now)
    return current_uid


def logged_in(name: str = "bo", **fields: Any) -> Client:
    user = get_user_model().objects.create_user(name, password="pw", **fields)
    client = Client()
    client.force_login(user)
    return client


def root(name: str = "bo") -> Client:
    return logged_in(name, is_superuser=True, is_staff=True)


def text(client: Client, path: str) -> str:
    return client.get(path).content.decode()


@pytest.mark.parametrize("path", PAGES)
def test_who_may_administer_sees_on_every_page_that_deletions_are_stopped(stopped: str, path: str):
    ProjectFactory.create(pk=1)
    page = text(root(), path)
    assert BANNER in page
    assert "shop" in page
    assert PAGE in page


def test_nobody_else_sees_it_and_nobody_once_nothing_is_stopped(stopped: str, member: Client):
    assert BANNER not in text(member, "/")
    assert text(member, PAGE).count("administer")
    Installation.objects.update(stopped_at=None, stopped_reason="")
    client = root("ann")
    assert BANNER not in text(client, "/")
    assert client.get(PAGE)["Location"] == "/registry-health/"


@pytest.fixture
def member() -> Client:
    from django.contrib.auth.models import Permission

    client = logged_in()
    user = get_user_model().objects.get(username="bo")
    user.user_permissions.add(Permission.objects.get(codename="view_registeredmodel"))
    return client


def test_the_page_shows_what_is_found_and_taken_and_its_button_takes_it(
    stopped: str, cloud: LocalCloud
):
    client = root()
    page = text(client, PAGE)
    assert "the marker of installation abc (shop)" in page
    assert f"becomes the marker of installation {stopped} (tests)" in page
    answer = client.post(PAGE, {"key": "k"})
    operation = Operation.objects.get()
    assert answer["Location"] == f"/operations/{operation.pk}/"
    resume_operations(clock=database_now)
    operation.refresh_from_db()
    assert (operation.status, operation.actor_label) == ("succeeded", "bo")
    assert marker_of(cloud)["uid"] == stopped
    require_ours(clock=database_now)
    assert BANNER not in text(client, "/")


def test_a_member_may_not_confirm(stopped: str, member: Client):
    assert member.post(PAGE, {"key": "k"}).status_code == 403
    assert not Operation.objects.exists()


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command("confirm_installation", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_shows_first_and_confirms_only_when_told(stopped: str, cloud: LocalCloud):
    shown = run()
    assert "the marker of installation abc (shop)" in shown
    assert stopped in shown
    assert "Nothing was changed" in shown
    assert marker_of(cloud)["uid"] == "abc"
    assert "Confirmed" in run("--yes")
    assert marker_of(cloud)["uid"] == stopped
    assert current().confirmed_by == "confirm_installation"


def test_the_command_says_in_a_sentence_when_the_marker_cannot_be_read(
    stopped: str, cloud: LocalCloud
):
    cloud.faults.order("storage.objects.get", "error", "PERMISSION_DENIED", times=None)
    with pytest.raises(CommandError) as refused:
        run()
    assert refused.value.returncode == 2
    assert "could not be read" in str(refused.value)
