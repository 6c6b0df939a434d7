"""Evidence and other facts as a person reads them: named, with readable times, without empties."""

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
}
"""How facts are called that their keys call otherwise; '' for one that says nothing to people."""
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(\+00:00|Z)")
DAG = re.compile(
    r"^The DAG failed because some tasks failed\. The failed tasks are: \[(.+?)\].*", re.S
)
"""What Vertex AI says of a pipeline; the rest of it are ids of the job."""


def facts(values: Mapping[str, Any], now: datetime) -> tuple[Fact, ...]:
    """What a JSON object says, one line for each of its keys that says anything."""
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
    """Ids and paths have no spaces and hold a digit or a slash; words and times do not."""
    text = str(value)
    mixed = len(text) > 7 and " " not in text and any(c.isdigit() or c == "/" for c in text)
    return mixed and not ISO.fullmatch(text)


def readable(error: str) -> str:
    """An error in a sentence on one line: of a pipeline that failed, which of its tasks did."""
    return " ".join(DAG.sub(r"The pipeline failed at \1.", error).split())
