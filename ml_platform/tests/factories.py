"""Rows for tests: one factory for each noun, its states as traits."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import factory
from django.contrib.auth import get_user_model
from factory.django import DjangoModelFactory

from ml_platform.conf import get_settings
from ml_platform.models import (
    DeployedEndpoint,
    Finding,
    Project,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.states import (
    EndpointState,
    FindingStatus,
    Frequency,
    ModelType,
    Registration,
    RunStatus,
    ScheduleState,
)
from ml_platform.services.findings.kinds import FindingKind

LONG_AGO = datetime(2026, 1, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PROJECT_NUMBER = 123456789012


class UserFactory(DjangoModelFactory):
    class Meta:
        model = get_user_model()

    username = factory.Sequence(lambda n: f"user{n}")


class ProjectFactory(DjangoModelFactory):
    class Meta:
        model = Project
        skip_postgeneration_save = True

    name = factory.Sequence(lambda n: f"project-{n}")


class RegisteredModelFactory(DjangoModelFactory):
    """A lineage; never registered unless runs of it are (`version_of`)."""

    class Meta:
        model = RegisteredModel

    project = factory.SubFactory(ProjectFactory)
    model_name = factory.Sequence(lambda n: f"model-{n}")
    model_type = ModelType.RETRIEVAL
    created_at = LONG_AGO


class TrainingRunFactory(DjangoModelFactory):
    """A run that waits to be submitted; traits put it further along."""

    class Meta:
        model = TrainingRun

    class Params:
        failed = factory.Trait(status=RunStatus.FAILED, error="The train stage failed.")
        completed = factory.Trait(
            status=RunStatus.COMPLETED,
            is_blessed=True,
            progress=100,
            finished_at=LONG_AGO + timedelta(hours=1),
        )

    uid = factory.LazyFunction(uuid.uuid4)
    project = factory.SubFactory(ProjectFactory)
    model_name = factory.Sequence(lambda n: f"model-{n}")
    created_at = LONG_AGO

    @factory.lazy_attribute
    def gcs_artifacts_path(self) -> str:
        settings = get_settings()
        return f"gs://{settings.BUCKET}/{settings.ARTIFACTS_PREFIX}/{self.uid.hex}/"


class TrainingScheduleFactory(DjangoModelFactory):
    class Meta:
        model = TrainingSchedule

    name = factory.Sequence(lambda n: f"schedule-{n}")
    registered_model = factory.SubFactory(RegisteredModelFactory)
    project = factory.SelfAttribute("registered_model.project")
    model_name = factory.SelfAttribute("registered_model.model_name")
    state = ScheduleState.ACTIVE
    frequency = Frequency.DAILY
    cron = "0 4 * * *"
    created_at = LONG_AGO


class DeployedEndpointFactory(DjangoModelFactory):
    """An endpoint that was stopped; `serving` has it serve its run."""

    class Meta:
        model = DeployedEndpoint

    class Params:
        serving = factory.Trait(state=EndpointState.ACTIVE, is_active=True)

    registered_model = factory.SubFactory(RegisteredModelFactory)
    project = factory.SelfAttribute("registered_model.project")
    service_name = factory.Sequence(lambda n: f"service-{n}")


class FindingFactory(DjangoModelFactory):
    """An open finding about a lineage; `ignored` has a person ignore it."""

    class Meta:
        model = Finding

    class Params:
        ignored = factory.Trait(
            status=FindingStatus.IGNORED, ignored_by="ana", ignored_reason="It is known."
        )

    kind = FindingKind.ORPHAN
    subject = factory.Sequence(lambda n: f"subject-{n}")
    title = factory.LazyAttribute(lambda finding: f"{finding.subject} was never registered")
    repair = "Delete the record."
    first_seen_at = LONG_AGO
    last_seen_at = LONG_AGO


def version_of(
    lineage: RegisteredModel, *, vertex_id: str = "", registered_at: datetime = LONG_AGO
) -> TrainingRun:
    """Add a version to a lineage, in our tables only, with the version cache in step."""
    settings = get_settings()
    number = lineage.next_version
    name = lineage.vertex_model_resource_name or (
        f"projects/{PROJECT_NUMBER}/locations/{settings.LOCATION}/models/"
        f"{vertex_id or f'mr-{lineage.uid.hex}-{lineage.generation}'}"
    )
    run: TrainingRun = TrainingRunFactory(
        completed=True,
        project=lineage.project,
        registered_model=lineage,
        model_name=lineage.model_name,
        model_type=lineage.model_type,
        registration=Registration.REGISTERED,
        version=number,
        vertex_model_resource_name=name,
        vertex_model_name=lineage.model_name,
        vertex_model_version=str(number),
        registered_at=registered_at,
    )
    lineage.vertex_model_resource_name = name
    lineage.total_versions += 1
    lineage.next_version = number + 1
    lineage.latest_run = run
    lineage.latest_registered_at = registered_at
    lineage.save()
    return run


def varied_project(**fields: object) -> Project:
    """A project in which definitions that are often confused give different numbers.

    Two lineages, one of them with versions 9 and 10; three endpoints of one model, one of them
    stopped; a run of each `is_blessed` that is no version, a failed one and one that trains; two
    open findings and an ignored one.
    """
    project: Project = ProjectFactory(**fields)
    lineage = RegisteredModelFactory(project=project, next_version=9)
    ninth, tenth = version_of(lineage), version_of(lineage, registered_at=LONG_AGO + DAY)
    RegisteredModelFactory(project=project)
    for run, serving in ((tenth, True), (tenth, True), (ninth, False)):
        DeployedEndpointFactory(registered_model=lineage, run=run, serving=serving)
    for is_blessed in (None, True):
        TrainingRunFactory(project=project, completed=True, is_blessed=is_blessed)
    TrainingRunFactory(project=project, status=RunStatus.NOT_BLESSED, is_blessed=False)
    TrainingRunFactory(project=project, failed=True)
    TrainingRunFactory(project=project, status=RunStatus.RUNNING)
    for state in (ScheduleState.ACTIVE, ScheduleState.PAUSED, ScheduleState.CANCELLED):
        TrainingScheduleFactory(registered_model=lineage, state=state)
    for ignored in (False, False, True):
        FindingFactory(project=project, ignored=ignored)
    return project
