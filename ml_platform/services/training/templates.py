"""Compiled pipelines: read from GCS or disk, and what their parameters may be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_platform.cloud import storage
from ml_platform.cloud.answers import Absent, ask
from ml_platform.cloud.names import ObjectPath
from ml_platform.conf import get_settings
from ml_platform.errors import CloudAbsent, CloudRejected, Invalid

LIMIT_BYTES = 1 << 20
OLD_SCHEMA = (2, 0, 0)
"""Up to this one Vertex AI wants values in the deprecated `RuntimeConfig.parameters`
(google/cloud/aiplatform_v1/types/pipeline_job.py)."""
_OLD_TYPES = {"INT": int, "NUMBER_INTEGER": int, "DOUBLE": float, "NUMBER_DOUBLE": float}
LARGEST = 2**53
"""Numbers become floats on the wire, which hold no larger whole number exactly."""


class BadTemplate(Invalid):
    """The template cannot be read as a compiled pipeline."""

    code = "bad_template"
    advice = "Compile the pipeline to JSON or YAML and give its gs:// address."


class BadParameters(Invalid):
    """The parameters do not fit the template."""

    code = "bad_parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An input of a pipeline; `kind` is the template's word, such as NUMBER_INTEGER."""

    kind: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A compiled pipeline: the spec as Vertex AI takes it, and its inputs."""

    spec: Mapping[str, Any]
    parameters: Mapping[str, Parameter]

    @property
    def is_old(self) -> bool:
        """Whether its schema takes typed values: texts, whole numbers and numbers only."""
        return _version(self.spec) <= OLD_SCHEMA

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters as its schema wants them: a number for a DOUBLE is a float."""
        kinds = {name: parameter.kind for name, parameter in self.parameters.items()}
        cast = _OLD_TYPES if self.is_old else {}
        return {name: cast.get(kinds.get(name, ""), _same)(v) for name, v in given.items()}


def _same(value: Any) -> Any:
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return _is_number(value) and float(value).is_integer()


# Kinds of KFP's IR (parameterType) and, with the short names, of the schema before it (type).
_KINDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "STRING": ("a text", lambda value: isinstance(value, str)),
    "NUMBER_INTEGER": ("a whole number", _is_integer),
    "INT": ("a whole number", _is_integer),
    "NUMBER_DOUBLE": ("a number", _is_number),
    "DOUBLE": ("a number", _is_number),
    "BOOLEAN": ("true or false", lambda value: isinstance(value, bool)),
    "LIST": ("a list", lambda value: isinstance(value, list)),
    "STRUCT": ("an object", lambda value: isinstance(value, dict)),
}


def read_template(uri: str) -> Template:
    """Read a template from `gs://` or from below TEMPLATE_DIR.

    :raises BadTemplate: it is not there, or is no compiled pipeline.
    :raises CloudUnavailable: Cloud Storage gave no usable answer.
    """
    text = _read_object(uri) if uri.startswith("gs://") else _read_file(uri)
    return parse_template(text, uri)


def parse_template(text: str, uri: str) -> Template:
    """Understand a compiled pipeline, as KFP or TFX write it. `uri` is for the messages.

    :raises BadTemplate: it is none.
    """
    spec = _plain(text, uri)
    if isinstance(spec, dict) and isinstance(spec.get("pipelineSpec"), dict):
        spec = spec["pipelineSpec"]  # a whole PipelineJob was compiled
    if not isinstance(spec, dict) or not _has_body(spec):
        raise BadTemplate(f"{uri} is no compiled pipeline: it has no pipelineInfo and root.")
    return template_of(spec)


def template_of(spec: Mapping[str, Any]) -> Template:
    """The template that a compiled pipeline is."""
    inputs = _at(spec, "root", "inputDefinitions", "parameters")
    return Template(
        spec=spec, parameters={str(name): _parameter(what) for name, what in inputs.items()}
    )


def check_parameters(*, template: Template, given: Mapping[str, Any]) -> None:
    """Check that a run may be started with these parameters.

    :raises BadParameters: one is unknown, missing or of the wrong type.
    """
    known = template.parameters
    names = ", ".join(sorted(known)) or "none"
    if unknown := sorted(given.keys() - known.keys()):
        raise BadParameters(
            f"The pipeline has no parameter {', '.join(map(repr, unknown))}.",
            code="unknown_parameter",
            advice=f"Its parameters: {names}.",
        )
    if missing := sorted(name for name, p in known.items() if p.required and name not in given):
        raise BadParameters(
            f"The pipeline needs {', '.join(missing)}.", advice=f"Its parameters: {names}."
        )
    for name, value in given.items():
        _require_exact(name, value)
        what, fits = _KINDS.get(known[name].kind, ("", lambda _: True))
        if not fits(value):
            raise BadParameters(
                f"The parameter {name} is {value!r:.80}, which is not {what}.",
                advice="Give it a value of that type.",
            )
        if template.is_old and type(value) not in (str, int, float):
            raise BadParameters(
                f"The parameter {name} is neither a text nor a number, which is all that the "
                "pipeline's schema takes.",
                advice="Compile it with schema version 2.1.0 or later.",
            )


def _require_exact(name: str, value: Any) -> None:
    """Refuse numbers that cannot be sent as they are, wherever in the value they stand.

    :raises BadParameters: there is one.
    """
    left = [value]
    while left:
        part = left.pop()
        left += part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        finite = not isinstance(part, float) or math.isfinite(part)
        if not finite or (isinstance(part, int) and abs(part) > LARGEST):
            raise BadParameters(
                f"The parameter {name} holds a number that Vertex AI cannot take exactly.",
                advice=f"Whole numbers go up to {LARGEST}; pass a larger one as text.",
            )


def _read_object(uri: str) -> str:
    path = ObjectPath.parse(uri)
    try:
        return storage.read_text(path.bucket, path.key, limit_bytes=LIMIT_BYTES)
    except CloudAbsent as error:
        if isinstance(ask(lambda: storage.get_bucket(path.bucket)), Absent):
            raise BadTemplate(
                f"There is no bucket {path.bucket}.",
                code="bucket_missing",
                advice="Correct the template's address.",
            ) from error
        raise BadTemplate(f"There is no template {uri}.", code="template_missing") from error
    except CloudRejected as error:
        raise BadTemplate(f"The template {uri} cannot be read: {error}") from error


def _read_file(uri: str) -> str:
    folder = get_settings().TEMPLATE_DIR
    if not folder or "://" in uri:
        raise BadTemplate(f"{uri!r:.200} is no address of a template.")
    missing = BadTemplate(f"There is no template {uri!r:.200}.", code="template_missing")
    try:
        root = Path(folder).resolve()
        path = Path(root, uri).resolve()
        if not path.is_relative_to(root):
            raise missing
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except (OSError, ValueError) as error:
        raise missing from error
    if len(content) > LIMIT_BYTES:
        raise BadTemplate(f"The template {uri} is longer than {LIMIT_BYTES} bytes.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadTemplate(f"The template {uri} is no text.") from error


def _plain(text: str, uri: str) -> Any:
    """The document as plain JSON values."""
    import yaml  # only when a template is read

    try:
        if text.lstrip().startswith("{"):
            return json.loads(text, parse_constant=_refuse_constant)
        # KFP may put a second document, the platform's, behind the pipeline.
        documents = _refuse_aliases(yaml.SafeLoader(text))
        return json.loads(json.dumps(documents.get_data(), allow_nan=False))
    except yaml.MarkedYAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadTemplate(f"{uri} is neither JSON nor YAML: {error.problem}{where}.") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise BadTemplate(f"{uri} is neither JSON nor YAML that means JSON.") from error


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _refuse_aliases(loader: Any) -> Any:
    """No compiler writes aliases, and a few of them can unfold into gigabytes."""
    import yaml

    compose = loader.compose_node

    def compose_node(parent: Any, index: Any) -> Any:
        if loader.check_event(yaml.AliasEvent):
            mark = loader.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not taken", problem_mark=mark)
        return compose(parent, index)

    loader.compose_node = compose_node
    return loader


def _has_body(spec: Mapping[str, Any]) -> bool:
    return isinstance(spec.get("root"), dict) and bool(_at(spec, "pipelineInfo"))


def _at(spec: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    value: Any = spec
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _parameter(what: Any) -> Parameter:
    what = what if isinstance(what, dict) else {}
    optional = what.get("isOptional") is True or "defaultValue" in what
    return Parameter(
        kind=str(what.get("parameterType") or what.get("type") or ""), required=not optional
    )


def _version(spec: Mapping[str, Any]) -> tuple[int, ...]:
    parts = str(spec.get("schemaVersion", "")).split(".")
    return tuple(int(part) if part.isdecimal() else 0 for part in parts)
