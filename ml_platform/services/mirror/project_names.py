"""The names of the configured Google project: our rows may have its number where Google answers
with its id, or the other way round."""

from __future__ import annotations

from django.db.models import Value
from django.db.models.functions import StrIndex, Substr

from ml_platform.cloud.names import ModelName
from ml_platform.conf import require_settings
from ml_platform.models import MirroredModel, TrainingRun

_START = len("projects/") + 1


def project_number() -> str:
    """The number of the project, as Vertex AI last listed a model; '' if it listed the id."""
    one = MirroredModel.objects.order_by("pk").first()
    listed = ModelName.parse(one.resource_name).project if one else ""
    return listed if listed.isdigit() else ""


def project_names(number: str) -> frozenset[str]:
    """The id of the project and its number. Without a listed number, each number that our versions
    have: nothing says that it is another project's."""
    known = {number} if number else {name for name in _written() if name.isdigit()}
    return frozenset({require_settings().PROJECT_ID, *known})


def _written() -> set[str]:
    """What our versions have in place of the project."""
    rest = Substr("vertex_model_resource_name", _START)
    project = Substr("vertex_model_resource_name", _START, StrIndex(rest, Value("/")) - 1)
    rows = TrainingRun.objects.versions()
    return set(rows.values_list(project, flat=True).distinct())
