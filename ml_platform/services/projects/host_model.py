"""What may be changed of a project: all of our own model, of a host's what its fields allow."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db.models import CharField, Field, ManyToManyField, Model, TextField
from django.db.models.fields import NOT_PROVIDED

from ml_platform.conf import get_settings, project_model
from ml_platform.errors import Conflict

NAME, MEMBERS = "name", "members"


def project_class() -> type[Model]:
    """The model of projects: ours, or the host's own."""
    return apps.get_model(project_model())


def project_id_of(subject: Any) -> Any:
    """The key of a subject's project; a project is its own, whatever fields the host gave it."""
    return subject.pk if isinstance(subject, project_class()) else subject.project_id


def require_creatable() -> None:
    """Check that a project can be made from a name alone.

    :raises Conflict: the host's model needs more, so that only the host can make one.
    """
    require_named("made")
    fields = project_class()._meta.concrete_fields  # noqa: SLF001 - Django's documented name
    if needed := [field.name for field in fields if field.name != NAME and _is_required(field)]:
        raise _elsewhere("made", f"needs {', '.join(needed)} too")


def require_named(verb: str = "renamed") -> None:
    """Check that a project has a name that can be written.

    :raises Conflict: the host's model has no text field `name`.
    """
    if not isinstance(_field(NAME), CharField | TextField):
        raise _elsewhere(verb, f"has no text field `{NAME}`")


def has_members() -> bool:
    """Whether the `members` of a project are its users, and can be written."""
    field = _field(MEMBERS)
    if get_settings().PROJECTS_FOR_USER or not isinstance(field, ManyToManyField):
        return False
    through: Any = field.remote_field.through
    return field.related_model is get_user_model() and bool(through._meta.auto_created)  # noqa: SLF001 - Django's documented name


def require_members() -> None:
    """Check that members can be added and removed.

    :raises Conflict: the host decides otherwise who belongs to a project.
    """
    if not has_members():
        raise Conflict(
            f"Who belongs to a project is decided by {decided_by()}.",
            code="members_elsewhere",
            advice="Change it there.",
        )


def decided_by() -> str:
    """What decides which users belong to a project, where it is not our `members`."""
    return get_settings().PROJECTS_FOR_USER or project_class()._meta.label  # noqa: SLF001 - Django's documented name


def _field(name: str) -> object:
    try:
        return project_class()._meta.get_field(name)  # noqa: SLF001 - Django's documented name
    except FieldDoesNotExist:
        return None


def _is_required(field: Field[Any, Any]) -> bool:
    optional = field.blank or field.null or field.has_default() or field.auto_created
    return not optional and getattr(field, "db_default", NOT_PROVIDED) is NOT_PROVIDED


def _elsewhere(verb: str, why: str) -> Conflict:
    meta = project_class()._meta  # noqa: SLF001 - Django's documented name
    return Conflict(
        f"Projects are {verb} in {meta.app_config.verbose_name}: {meta.label} {why}.",
        code="projects_elsewhere",
        advice="See the chapter about your own Project in docs/host.md.",
    )
