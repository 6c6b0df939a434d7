"""The forms of the training page: filters of the model list, a new run, a new schedule."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from django import forms
from django.forms.fields import InvalidJSONInput
from django.utils.safestring import SafeString, mark_safe
from django.utils.timezone import get_current_timezone_name

from ml_platform.errors import PlatformError
from ml_platform.guard import BadJson, read_json
from ml_platform.models.endpoints.serving_status import ServingStatus
from ml_platform.models.registry.model_tag import TAGS_MAX
from ml_platform.models.registry.registered_model import MODEL_NAME_MAX, validate_model_name
from ml_platform.models.states import Frequency, ModelType
from ml_platform.pagination import Order
from ml_platform.services.registry.registry_state import RegistryAnswer
from ml_platform.services.registry.tags import is_tag_filter
from ml_platform.services.scheduling.times import zone_of
from ml_platform.services.training.template_files import BadTemplate

PLACES: Mapping[str, str] = {
    "bad_model_name": "model_name",
    "bad_model_type": "model_type",
    "bad_parameters": "parameters",
    "unknown_parameter": "parameters",
    "bad_schedule_name": "name",
    "schedule_exists": "name",
    "bad_frequency": "frequency",
    "bad_time": "day",
    "bad_time_zone": "time_zone",
}
"""The field at which an error of a service is shown, by its code."""


ORDERS: Mapping[str, tuple[str, Order]] = {
    "newest": ("Newest first", Order("newest", "latest_registered_at", descending=True)),
    "oldest": ("Oldest first", Order("oldest", "latest_registered_at")),
    "name": ("Name, A to Z", Order("name", "model_name")),
    "name-desc": ("Name, Z to A", Order("name-desc", "model_name", descending=True)),
}
"""Each is served by an index: (project, latest_registered_at, id) or (project, model_name)."""


class TagsInput(forms.TextInput):
    """A box for each tag that is chosen, and an empty one."""

    def value_from_datadict(self, data: Any, files: Any, name: str) -> list[str]:
        """The tags that are given."""
        return [tag for tag in data.getlist(name) if tag]

    def render(
        self, name: str, value: Any, attrs: dict[str, Any] | None = None, renderer: Any = None
    ) -> SafeString:
        """All the boxes."""
        boxes = [super(TagsInput, self).render(name, tag, attrs, renderer) for tag in value or []]
        return mark_safe("".join([*boxes, super().render(name, "", attrs, renderer)]))  # noqa: S308 - rendered by Django


class TagsField(forms.Field):
    """Tags that a model must have: each a key, or `key:value`."""

    widget = TagsInput(attrs={"placeholder": "key or key:value", "autocomplete": "off"})

    def validate(self, value: list[str]) -> None:
        """Check each.

        :raises ValidationError: no model can have it.
        """
        for tag in value:
            if not is_tag_filter(tag):
                raise forms.ValidationError(
                    "Write it as key or key:value, for example team:search.", code="invalid"
                )
        if len(value) > TAGS_MAX:
            raise forms.ValidationError(f"A model has at most {TAGS_MAX} tags.", code="invalid")


class ModelFilterForm(forms.Form):
    """What narrows and sorts the Model Registry table."""

    q = forms.CharField(
        required=False,
        max_length=MODEL_NAME_MAX,
        label="Search",
        widget=forms.TextInput(
            attrs={"type": "search", "placeholder": "Part of a name", "autocomplete": "off"}
        ),
    )
    type = forms.ChoiceField(required=False, choices=[("", "All"), *ModelType.choices])
    state = forms.ChoiceField(required=False, choices=[("", "All"), *ServingStatus.choices])
    registry = forms.ChoiceField(required=False, choices=[("", "All"), *RegistryAnswer.choices])
    tag = TagsField(required=False, label="Tag")
    sort = forms.ChoiceField(
        required=False, choices=[(name, label) for name, (label, _) in ORDERS.items()]
    )

    def filters(self) -> dict[str, Any]:
        """The filters of `model_filter`, without those that are not valid."""
        self.is_valid()
        names = {
            "search": "q", "model_type": "type", "status": "state", "registry": "registry",
            "tags": "tag",
        }  # fmt: skip
        return {name: self.cleaned_data.get(field, "") for name, field in names.items()}

    def order(self) -> Order:
        """The order that is chosen; the newest first if none is."""
        return ORDERS[self.cleaned_data.get("sort") or "newest"][1]


class ServiceErrorForm(forms.Form):
    """A form that shows errors of a service at its fields."""

    key = forms.CharField(widget=forms.HiddenInput, max_length=64, initial=lambda: uuid4().hex)

    def refuse(self, error: PlatformError) -> None:
        """Show the error at its field; above all fields if it has none."""
        place = "template_uri" if isinstance(error, BadTemplate) else PLACES.get(error.code)
        self.add_error(place if place in self.fields else None, f"{error} {error.advice}".strip())


class ParametersField(forms.JSONField):
    """JSON by the same rules as in the API, so that every value can be stored."""

    def to_python(self, value: Any) -> Any:
        """The value.

        :raises ValidationError: it is not such JSON.
        """
        try:
            return read_json(value) if value not in self.empty_values else None
        except BadJson as error:
            message = f"{self.error_messages['invalid']} {error}"
            raise forms.ValidationError(message, code="invalid") from error

    def bound_data(self, data: Any, initial: Any) -> Any:
        """What the form shows again; text that is not JSON is shown as it was entered."""
        try:
            return read_json(data) if data else None
        except BadJson:
            return InvalidJSONInput(data)


class RunForm(ServiceErrorForm):
    """A training run."""

    model_name = forms.CharField(
        max_length=MODEL_NAME_MAX,
        validators=[validate_model_name],
        help_text="A run that succeeds becomes a version of this model.",
    )
    model_type = forms.ChoiceField(choices=ModelType.choices, label="Type")
    template_uri = forms.CharField(
        max_length=1024,
        label="Pipeline template",
        help_text="The gs:// address of the compiled pipeline, JSON or YAML.",
    )
    parameters = ParametersField(
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false"}),
        help_text="A JSON object with a value for each parameter of the pipeline.",
        error_messages={"invalid": 'This is not valid JSON. Write it as {"epochs": 3}.'},
    )

    def clean_parameters(self) -> dict[str, Any]:
        """The parameters; an empty field means none.

        :raises ValidationError: it is JSON but not an object.
        """
        given = self.cleaned_data["parameters"]
        if given is None:
            return {}
        if not isinstance(given, dict):
            raise forms.ValidationError('This is not a JSON object. Write it as {"epochs": 3}.')
        return given


class TimesForm(ServiceErrorForm):
    """When a schedule trains: at the time of its first run, in its time zone."""

    name = forms.CharField(max_length=128, label="Name of the schedule")
    frequency = forms.ChoiceField(choices=Frequency.choices, initial=Frequency.DAILY)
    day = forms.DateField(
        label="First day",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="Weekly schedules repeat on its weekday, monthly ones on its day of the month.",
    )
    time = forms.TimeField(
        label="Time of day", widget=forms.TimeInput(attrs={"type": "time"}, format="%H:%M")
    )
    time_zone = forms.CharField(
        max_length=64, initial=get_current_timezone_name, help_text="For example Europe/Berlin."
    )

    def first(self) -> datetime:
        """The time of the first run, in its time zone.

        :raises Invalid: there is no such time zone.
        """
        data = self.cleaned_data
        return datetime.combine(data["day"], data["time"], tzinfo=zone_of(data["time_zone"]))


class ScheduleForm(TimesForm, RunForm):
    """A schedule with the pipeline and parameters of its runs."""

    field_order = ("name", "model_name", "model_type", "template_uri", "parameters")
