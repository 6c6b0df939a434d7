"""Evidence and other facts for people: labels, readable times, no empty values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from .context import Fact
from .times import moment

NAMES: Mapping[str, str] = {
    "registered_model_id": "",
    "run_id": "Run",
    "model_name": "Name",
    "display_name": "Name in Vertex AI",
    "created_at": "Created",
    "resource_name": "In Vertex AI",
    "vertex_default_version": "Default version in Vertex AI",
    "vertex_created_at": "Created in Vertex AI",
    "artifact_uri": "Its files",
    "vertex_label_mlp_owner": "Labeled as owned by",
    "vertex_label_mlp_run": "Labeled as run",
    "cloud_run_label_mlp_owner": "Labeled as owned by",
    "cloud_run_label_mlp_endpoint": "Labeled as endpoint",
    "cloud_run_label_mlp_run": "Labeled as run",
    "gcs_listing": "Cloud Storage was",
    "vertex_listing": "Vertex AI was",
    "cloud_run_listing": "Cloud Run was",
    "url": "Address",
    "our_pointer": "We point at",
    "our_versions": "Versions we record",
    "our_registration": "We record it as",
    "our_version": "Our records have it on version",
    "vertex_version": "Vertex AI has it on version",
    "more_versions": "Versions without a record",
}
"""Labels for evidence keys; an empty one hides the key."""
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)")
DAG = re.compile(
    r"^The DAG failed because some tasks failed\. The failed tasks are: \[(.+?)\].*", re.S
)
"""How Vertex AI reports a failed pipeline; the rest of the text are ids of the job."""


def facts(values: Mapping[str, Any], now: datetime) -> tuple[Fact, ...]:
    """One fact for each key of a JSON object that has a value."""
    named = [(NAMES.get(key, _titled(key)), v) for key, v in values.items()]
    return tuple(
        Fact(name=name, value=_plain(value, now), code=_is_code(value))
        for name, value in named
        if name and (value or value is False)
    )


def _titled(key: str) -> str:
    words = key.replace("_", " ")
    return words[:1].upper() + words[1:]


def _plain(value: Any, now: datetime) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, str) and ISO.fullmatch(value):
        when = moment(datetime.fromisoformat(value), now)
        return f"{when.relative}, {when.exact}" if when else value
    return str(value)


def _is_code(value: Any) -> bool:
    """Whether a value is an id or a path: long, without spaces, with a digit or a slash."""
    text = str(value)
    mixed = len(text) > 7 and " " not in text and any(c.isdigit() or c == "/" for c in text)
    return mixed and not ISO.fullmatch(text)


def readable(error: str) -> str:
    """An error on one line; a failed pipeline is reduced to its failed tasks."""
    return " ".join(DAG.sub(r"The pipeline failed at \1.", error).split())
