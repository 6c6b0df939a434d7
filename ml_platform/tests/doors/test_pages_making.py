"""Forms and verbs of training: a run and a schedule are made, submitted, deleted; aliases move."""

from __future__ import annotations

import re
from datetime import UTC, timedelta
from html import unescape

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import transaction
from django.test import Client
from django.utils import timezone

from ml_platform.cloud.transport import channels
from ml_platform.demo.stage import PARAMETERS, write_pipeline
from ml_platform.models import Operation, RegisteredModel, TrainingRun, TrainingSchedule
from ml_platform.models.states import Registration, RunStatus
from ml_platform.services.access.rights import Right
from ml_platform.services.registry.lineages import clear_pointer
from ml_platform.tests.factories import (
    ProjectFactory,
    RegisteredModelFactory,
    TrainingRunFactory,
    version_of,
)

from .api_tools import member_of

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root", password="pw"))
    return client


@pytest.fixture
def project():
    return ProjectFactory.create()


@pytest.fixture
def template(cloud) -> str:
    channels.storage_client().create_bucket("demo-artifacts")
    return write_pipeline()


def url_of(project, rest: str = "") -> str:
    return f"/projects/{project.pk}/training/{rest}"


def press(client: Client, verb: str, subject: object, **form: str):
    return client.post(f"/do/{verb}/{subject}/", form)


def why(client: Client, verb: str, subject: object) -> str:
    return str(client.get(f"/do/{verb}/{subject}/check/").json()["why"])


def run_form(template: str, **changes: str) -> dict[str, str]:
    told = {"model_name": "rank", "model_type": "ranking", "template_uri": template}
    return {**told, "parameters": "{}", "key": "k", **changes}


def schedule_form(**changes: str) -> dict[str, str]:
    day = f"{timezone.now() + timedelta(days=3):%Y-%m-%d}"
    told = {"name": "Nightly", "frequency": "daily", "day": day, "time": "04:30"}
    return {**told, "time_zone": "Europe/Berlin", "key": "k", **changes}


def errors_in(answer) -> str:
    assert answer.status_code == 422
    found = re.findall(r'<div class="mlp-error".*?</div>', answer.content.decode(), re.S)
    return unescape(" ".join(re.sub(r"<[^>]*>", " ", " ".join(found)).split()))


def test_a_run_is_started_once_however_often_its_form_is_sent(admin, project, template):
    form = run_form(template)
    answers = [admin.post(url_of(project, "new-run/"), form) for _ in range(2)]
    run, operation = TrainingRun.objects.get(), Operation.objects.get()
    assert (run.model_name, run.parameters, run.registered_model) == ("rank", {}, None)
    assert [answer["Location"] for answer in answers] == [f"/operations/{operation.pk}/"] * 2
    assert not RegisteredModel.objects.exists()


def test_a_run_is_written_down_for_later_and_submitted_by_its_button(admin, project, template):
    answer = admin.post(url_of(project, "new-run/"), run_form(template, later="1"))
    run = TrainingRun.objects.get()
    assert answer["Location"] == url_of(project, f"#run-{run.pk}")
    assert run.status == RunStatus.PENDING
    page = admin.get(url_of(project)).content.decode()
    assert f'aria-label="Submit run {run.pk} of rank"' in page
    assert press(admin, "submit-run", run.pk).status_code == 302
    assert f"{run} is submitting and cannot be submitted." in why(admin, "submit-run", run.pk)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model_name": "Not A Name"}, "lower-case"),
        ({"model_type": "x"}, "Select a valid choice"),
        ({"template_uri": "gs://none/none.json"}, "The bucket none does not exist."),
        ({"parameters": '{"a": 1'}, "This is not valid JSON."),
        ({"parameters": "[1]"}, "This is not a JSON object."),
        ({"parameters": '{"nope": 1}'}, "The pipeline has no parameter 'nope'. Its parameters:"),
        ({"model_name": ""}, "This field is required."),
    ],
)
def test_what_is_wrong_is_told_at_its_field_and_nothing_is_kept(
    admin, project, template, changes, told
):
    answer = admin.post(url_of(project, "new-run/"), run_form(template, **changes))
    assert told in errors_in(answer)
    (field,) = changes
    assert re.search(rf'name="{field}"[^>]*aria-invalid="true"', answer.content.decode())
    assert not TrainingRun.objects.exists()
    assert not Operation.objects.exists()


def test_the_form_begins_as_the_newest_run_was_made(admin, project):
    TrainingRunFactory.create(
        project=project, model_name="old", template_uri="gs://b/t.json", parameters={"epochs": 3}
    )
    body = admin.get(url_of(project, "new-run/")).content.decode()
    assert 'value="gs://b/t.json"' in body
    assert "{&quot;epochs&quot;: 3}" in body


def test_a_schedule_is_made_and_its_first_time_is_in_its_zone(admin, project, template, settings):
    ringing(settings)
    form = {**run_form(template), **schedule_form()}
    answer = admin.post(url_of(project, "new-schedule/"), form)
    operation, schedule = Operation.objects.get(), TrainingSchedule.objects.get()
    assert answer["Location"] == f"/operations/{operation.pk}/"
    assert (schedule.cron, schedule.time_zone) == ("30 4 * * *", "Europe/Berlin")
    assert schedule.starts_at
    assert schedule.starts_at.astimezone(UTC).hour in (2, 3)
    page = admin.get(f"/operations/{operation.pk}/").content.decode()
    assert "<h1>Create the schedule" in page


def test_a_schedule_is_made_from_a_run(admin, project, template, settings):
    ringing(settings)
    run = TrainingRunFactory.create(
        project=project, completed=True, model_name="rank", template_uri=template,
        parameters=PARAMETERS,
    )  # fmt: skip
    form = url_of(project, f"new-schedule/?run={run.pk}")
    assert form in admin.get(url_of(project)).content.decode()
    body = admin.get(form).content.decode()
    assert f"It uses the pipeline and the parameters of run {run.pk} of rank." in body
    assert 'name="model_name"' not in body
    assert admin.post(form, schedule_form()).status_code == 302
    assert TrainingSchedule.objects.get().template_uri == template


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"time_zone": "Mars/Base"}, "'Mars/Base' is not a time zone. Use an IANA name"),
        ({"day": "2020-01-01", "frequency": "once"}, "has passed."),
        ({"name": "<b>"}, "without < and >."),
        ({"frequency": "yearly"}, "Select a valid choice"),
    ],
)
def test_what_is_wrong_with_a_schedule_is_told(admin, project, template, settings, changes, told):
    ringing(settings)
    form = {**run_form(template), **schedule_form(**changes)}
    assert told in errors_in(admin.post(url_of(project, "new-schedule/"), form))
    assert not TrainingSchedule.objects.exists()


def ringing(settings) -> None:
    settings.ML_PLATFORM = {
        **settings.ML_PLATFORM,
        "PUBLIC_URL": "https://ml.example.com/",
        "WEBHOOK_SERVICE_ACCOUNTS": ["s@p.iam.gserviceaccount.com"],
    }


def test_the_forms_need_the_right_and_the_project(project):
    user = member_of(None, Right.VIEW)
    client = Client()
    client.force_login(user)
    for form in ("new-run/", "new-schedule/"):
        assert client.get(url_of(project, form)).status_code == 404
        assert Client().get(url_of(project, form)).status_code == 302
    project.members.add(user)
    for form in ("new-run/", "new-schedule/"):
        assert client.get(url_of(project, form)).status_code == 403
        assert client.post(url_of(project, form), run_form("gs://b/t")).status_code == 403
    assert "new-run/" not in client.get(url_of(project)).content.decode()
    user.user_permissions.add(Permission.objects.get(codename="train_registeredmodel"))
    client.force_login(get_user_model().objects.get(pk=user.pk))
    assert client.get(url_of(project, "new-run/")).status_code == 200
    foreign = TrainingRunFactory.create()
    assert client.get(url_of(project, f"new-schedule/?run={foreign.pk}")).status_code == 404


def test_the_record_of_a_run_is_deleted_and_its_history_stays(admin, project):
    run = TrainingRunFactory.create(project=project, failed=True, model_name="rank")
    live = TrainingRunFactory.create(project=project, status=RunStatus.RUNNING)
    page = admin.get(url_of(project)).content.decode()
    assert f'aria-label="Delete run {run.pk} of rank"' in page
    assert f"/do/delete-run/{live.pk}/" not in page
    assert f"{live} is running and cannot be deleted." in why(admin, "delete-run", live.pk)
    answer = press(admin, "delete-run", run.pk)
    assert not TrainingRun.objects.filter(pk=run.pk).exists()
    text = re.sub(r"<[^>]*>", " ", admin.get(answer["Location"]).content.decode())
    assert f"Delete rank run {run.pk}" in " ".join(text.split())
    assert f"Run {run.pk}</a>" not in admin.get(answer["Location"]).content.decode()


def test_aliases_are_given_moved_and_taken_away_in_one_field(admin):
    lineage = RegisteredModelFactory.create(model_name="rank")
    old, new = version_of(lineage), version_of(lineage)
    TrainingRun.objects.filter(pk=new.pk).update(aliases=["default", "champion"])
    page = admin.get(f"/models/{lineage.pk}/").content.decode()
    assert f'href="/do/alias-run/{new.pk}/" aria-label="Change the aliases of rank v2"' in page
    form = admin.get(f"/do/alias-run/{new.pk}/").content.decode()
    assert 'name="aliases" value="default, champion"' in form
    answer = press(
        admin, "alias-run", new.pk, aliases="default next", was="default, champion", key="k"
    )
    operation = Operation.objects.get()
    assert answer["Location"] == f"/operations/{operation.pk}/"
    assert operation.data["change"] == ["next", "-champion"]
    assert press(admin, "alias-run", old.pk, aliases="", was="").status_code == 422
    assert "rank v2 is held by" in why(admin, "alias-run", new.pk)
    Operation.objects.update(status="succeeded", finished_at=timezone.now())
    assert press(admin, "alias-run", new.pk, aliases="", was="default").status_code == 422
    with transaction.atomic():
        clear_pointer(run=old, registration=Registration.LOST)
    assert "is not a version" in why(admin, "alias-run", old.pk)
