"""Every door answers alike: the same user and subject get the same yes, or the same refusal."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from ml_platform.actions.action import perform
from ml_platform.actions.caller import Caller
from ml_platform.actions.table import ACTIONS
from ml_platform.errors import PlatformError
from ml_platform.models import RegisteredModel, TrainingRun
from ml_platform.services.access.rights import Right
from ml_platform.tests.factories import ProjectFactory

from .api_tools import bearer, logged_in, member_of, post
from .parity import DOORS, NOUNS, subjects

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
ALLOWED, LOGIN = ("", ""), ("unauthenticated", "")
Answer = tuple[str, str]
"""The code of a refusal and its words; both empty for a yes."""
WITHOUT_BUTTON = {
    "create-run", "create-schedule", "schedule-run", "check-registry", "set-up-job",
    "confirm-installation", "create-project", "rename-project", "add-member", "tag-model",
}  # fmt: skip
ACTORS: dict[str, tuple[Right, ...]] = {
    "viewer": (Right.VIEW,),
    "trainer": (Right.VIEW, Right.TRAIN),
    "deployer": (Right.VIEW, Right.DEPLOY),
    "deleter": (Right.VIEW, Right.DELETE),
    "administrator": (Right.VIEW, Right.ADMINISTER),
}


class Doors:
    """A user at all doors; what a request changes is undone after it."""

    def __init__(self, user: Any) -> None:
        self.browser, self.program = Client(), Client()
        if user is not None:
            self.browser, self.program = logged_in(user), bearer(user)
            self.browser.handler.enforce_csrf_checks = False

    def page(self, name: str, pk: Any) -> Answer:
        """The answer to the form of a page, as a script gets it."""
        url: str = f"/do/{name}/{pk}/"
        form: dict[str, Any] = dict(DOORS[name][3])
        if name == "delete-model":
            model = RegisteredModel.objects.get(pk=pk)
            runs = [str(run.pk) for run in model.training_runs.all()]
            url, form = f"/models/{pk}/delete/", {"name": model.model_name, "run": runs}
        answer = _undone(
            lambda: self.browser.post(url, form, headers={"Accept": "application/json"})
        )
        if answer.status_code == 302:
            return LOGIN
        said = answer.json()
        return ALLOWED if answer.status_code < 300 else (said["code"], said["error"])

    def api(self, name: str, pk: Any) -> Answer:
        """The answer of the API."""
        _, path, body, _ = DOORS[name]
        url = path.format(pk)
        if name == "alias-run":
            run = TrainingRun.objects.get(pk=pk)
            url = f"/api/models/{run.registered_model_id}/versions/{run.version}/aliases/"
        if body is None:
            answer = _undone(lambda: self.program.delete(url))
        else:
            answer = _undone(lambda: post(self.program, url, body))
        said = answer.json()
        if answer.status_code == 401:
            return LOGIN
        return ALLOWED if answer.status_code < 300 else (said["code"], said["detail"])

    def button(self, name: str, pk: Any) -> Answer:
        """Whether the button may be pressed, as the page asks before it sends."""
        answer = self.browser.get(f"/do/{name}/{pk}/check/", headers={"Accept": "application/json"})
        if answer.status_code == 302:
            return LOGIN
        said = answer.json()
        return said["code"], said.get("why", said.get("error"))


def _undone(request: Callable[[], Any]) -> Any:
    point = transaction.savepoint()
    try:
        return request()
    finally:
        transaction.savepoint_rollback(point)


def _agree(doors: Doors, name: str, pk: Any) -> None:
    page, api, button = doors.page(name, pk), doors.api(name, pk), doors.button(name, pk)
    if page[0] == "not_found":
        assert api[0] == "not_found"  # the words name what was asked for: a version by its model
    else:
        assert page == api
    assert button[0] == page[0]
    assert button[1].startswith(page[1])


def _states(name: str, made: dict[str, Any]) -> dict[str, Any]:
    states = dict(made)
    if name == "alias-run":  # the API names a version by its number, so that others have no address
        states = {state: states[state] for state in ("version", "missing", "held")}
    if name == "rerun":
        return {"without a template": states["failed"]}
    return states


def test_every_action_with_a_button_is_walked():
    assert set(DOORS) == {name for name, action in ACTIONS.items() if action.on_page}
    assert set(ACTIONS) - set(DOORS) == WITHOUT_BUTTON


@pytest.mark.slow
@pytest.mark.parametrize("name", DOORS)
def test_each_state_is_answered_alike_by_page_api_button_and_command(name: str):
    project = ProjectFactory.create(pk=1)
    doors = Doors(member_of(project))
    for state, pk in _states(name, subjects(DOORS[name][0], project)).items():
        try:
            _agree(doors, name, pk)
            assert _by_command(name, pk) == doors.api(name, pk)
        except AssertionError as error:
            raise AssertionError(f"{name}, {state}: {error}") from error


def _by_command(name: str, pk: Any) -> Answer:
    """What `perform` answers the system, whose rights and projects are all."""
    form: Any = DOORS[name][3]
    if name == "delete-model":
        runs = TrainingRun.objects.filter(registered_model=pk)
        form = {"runs": list(runs.values_list("pk", flat=True))}
    try:
        _undone(lambda: perform(ACTIONS[name], pk, form, Caller.system("test")))
    except PlatformError as error:
        return error.code, str(error)
    return ALLOWED


@pytest.mark.slow
def test_each_user_is_answered_alike_by_page_api_and_button():
    project = ProjectFactory.create(pk=1)
    made = {noun: subjects(noun, project) for noun in NOUNS}
    first = {name: next(iter(_states(name, made[DOORS[name][0]]).values())) for name in DOORS}
    users: dict[str, Any] = {"nobody": None, "stranger": member_of(None)}
    users |= {word: member_of(project, *rights) for word, rights in ACTORS.items()}
    for word, user in users.items():
        doors = Doors(user)
        for name in DOORS:
            pk = first[name]
            try:
                _agree(doors, name, pk)
            except AssertionError as error:
                raise AssertionError(f"{name}, {word}: {error}") from error
            if word == "stranger":
                assert doors.api(name, pk)[0] == "not_found", name


def test_the_docs_name_the_right_of_every_action():
    docs = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]*?) \|$", docs, flags=re.MULTILINE)
    said = {name: right for name, right in rows if name in ACTIONS}
    assert set(said) == set(ACTIONS)
    for name, action in ACTIONS.items():
        if isinstance(action.right, Right):
            short = action.right.partition(".")[2].partition("_")[0]
            assert said[name].startswith(f"`{short}`"), name
        else:
            assert said[name].startswith("depends: "), name
