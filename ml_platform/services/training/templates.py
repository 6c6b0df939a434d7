"""Compiled pipelines, and what their parameters may be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml_platform.errors import Invalid

from .plain_values import flaw_in
from .template_files import BadTemplate, parse_document, read_document

PARAMETERS_BYTES = 256 << 10
"""The parameters of a run, as JSON: as much as one request of our API holds."""
OLD_SCHEMA = (2, 0, 0)
"""Up to this version Vertex AI takes values in the deprecated `RuntimeConfig.parameters`
(google/cloud/aiplatform_v1/types/pipeline_job.py)."""
_OLD_TYPES = {"INT": int, "NUMBER_INTEGER": int, "DOUBLE": float, "NUMBER_DOUBLE": float}
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}")
# Fields of a PipelineJob that a run passes on or sets itself; other settings would be lost.
_OF_A_JOB = {"pipelineSpec", "runtimeConfig", "name", "displayName", "labels"}
_OF_A_RUNTIME = {"parameterValues", "parameters", "gcsOutputDirectory", "failurePolicy"}
_TYPED: Mapping[str, Callable[[Any], Any]] = {
    "intValue": lambda value: int(str(value)),  # JSON writes it as text
    "doubleValue": float,
    "stringValue": str,
}
_POLICIES = {
    "PIPELINE_FAILURE_POLICY_UNSPECIFIED",
    "PIPELINE_FAILURE_POLICY_FAIL_SLOW",
    "PIPELINE_FAILURE_POLICY_FAIL_FAST",
}


class BadParameters(Invalid):
    """The parameters do not fit the template."""

    code = "bad_parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An input of a pipeline; `kind` is its type in the template, such as NUMBER_INTEGER."""

    kind: str
    required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A compiled pipeline: the spec as Vertex AI takes it, and its inputs.

    A pipeline that was compiled to a whole PipelineJob has a `runtimeConfig` too. It is read as in
    google/cloud/aiplatform/utils/pipeline_utils.py (`from_job_spec_json`): `defaults` are values
    for parameters that are not given. A run does not write to `output_directory`, but to its own
    folder. `template_of(document)` returns the template again.
    """

    document: Mapping[str, Any]
    spec: Mapping[str, Any]
    parameters: Mapping[str, Parameter]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    failure_policy: str = ""
    output_directory: str = ""

    @property
    def is_old(self) -> bool:
        """Whether its schema takes only texts, whole numbers and numbers, each with its type."""
        version = str(self.spec.get("schemaVersion") or "0")
        return tuple(map(int, version.split("."))) <= OLD_SCHEMA

    def values(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values to send, typed for its schema: a number for a DOUBLE is a float."""
        chosen = {**self.defaults, **given}
        types = {name: _OLD_TYPES.get(p.kind) for name, p in self.parameters.items() if self.is_old}
        return {name: cast(v) if (cast := types.get(name)) else v for name, v in chosen.items()}


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

    :raises BadTemplate: it does not exist, or is not a compiled pipeline that a run can start.
    :raises CloudUnavailable: Cloud Storage gave no usable answer.
    """
    return _checked(read_document(uri), uri)


def parse_template(text: str, uri: str) -> Template:
    """Parse a compiled pipeline, as KFP or TFX write it. `uri` is for the messages.

    :raises BadTemplate: it is not one, or not one that a run can start.
    """
    return _checked(parse_document(text, uri), uri)


def template_of(document: Mapping[str, Any]) -> Template:
    """The template in a compiled pipeline that was checked when it was read.

    :raises ValueError: a value in its runtimeConfig is not valid.
    """
    spec, runtime = _spec_of(document), _at(document, "runtimeConfig")
    inputs = _at(spec, "root", "inputDefinitions", "parameters")
    return Template(
        document=document,
        spec=spec,
        parameters={str(name): _parameter(what) for name, what in inputs.items()},
        defaults=_defaults(runtime),
        failure_policy=runtime.get("failurePolicy") or "",
        output_directory=runtime.get("gcsOutputDirectory") or "",
    )


def _checked(document: Any, uri: str) -> Template:
    spec = _spec_of(document) if isinstance(document, dict) else {}
    if not isinstance(spec.get("root"), dict) or not _at(spec, "pipelineInfo"):
        raise BadTemplate(f"{uri} is not a compiled pipeline: it lacks pipelineInfo or root.")
    version = str(spec.get("schemaVersion") or "0")
    if not _VERSION.fullmatch(version):
        raise BadTemplate(f"The schemaVersion of {uri} is {version:.40}, which is not a version.")
    if needed := _needed_artifacts(spec):
        raise BadTemplate(
            f"The pipeline {uri} needs {', '.join(needed)} as an input artifact; a run gives its "
            "pipeline parameters only.",
            code="artifact_needed",
            advice="Make it optional, or import the artifact inside the pipeline.",
        )
    if document is not spec:
        _refuse_lost_settings(document, uri)
    try:
        return template_of(document)
    except (ValueError, TypeError) as error:
        raise BadTemplate(
            f"The runtimeConfig of {uri} gives its parameters values that are none: {error}."
        ) from error


def _refuse_lost_settings(document: Mapping[str, Any], uri: str) -> None:
    """Check that a PipelineJob has no setting that a run would drop silently.

    :raises BadTemplate: it has one.
    """
    runtime = document.get("runtimeConfig") or {}
    if not isinstance(runtime, dict):
        raise BadTemplate(f"The runtimeConfig of {uri} is not an object.")
    lost = [name for name, value in document.items() if value and name not in _OF_A_JOB]
    lost += [f"runtimeConfig.{n}" for n, v in runtime.items() if v and n not in _OF_A_RUNTIME]
    policy = runtime.get("failurePolicy") or ""
    if policy and (not isinstance(policy, str) or policy not in _POLICIES):
        lost.append(f"runtimeConfig.failurePolicy {policy!r:.80}")
    if lost:
        raise BadTemplate(
            f"{uri} sets {', '.join(lost)}, which a run does not pass on.",
            code="setting_lost",
            advice="Remove it from the compiled job, or give its pipelineSpec alone.",
        )


def check_parameters(*, template: Template, given: Mapping[str, Any]) -> None:
    """Check that a run may be started with these parameters.

    :raises BadParameters: one is unknown, missing or of the wrong type.
    """
    given = {**template.defaults, **given}
    check_values(given)
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


def check_values(given: Mapping[str, Any]) -> None:
    """Check that parameters reach Vertex AI and our database unchanged.

    :raises BadParameters: one would not.
    """
    for name, value in given.items():
        if flaw := flaw_in(name) or flaw_in(value):
            raise BadParameters(f"The parameter {name:.80} {flaw.what}.", advice=flaw.advice)
    size = len(json.dumps(given, ensure_ascii=False).encode())
    if size > PARAMETERS_BYTES:
        raise BadParameters(
            f"The parameters take {size:,} bytes as JSON, more than {PARAMETERS_BYTES:,}.",
            advice="Put what is long into a file in Cloud Storage, and pass its address.",
        )


def _at(spec: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    value: Any = spec
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _spec_of(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The pipeline itself; a whole PipelineJob contains it."""
    spec = document.get("pipelineSpec")
    return spec if isinstance(spec, dict) else document


def _defaults(runtime: Mapping[str, Any]) -> dict[str, Any]:
    values = runtime.get("parameterValues")
    if values is None:  # the schema before KFP's IR
        typed = _object(runtime.get("parameters") or {})
        values = {name: _untyped(_object(value)) for name, value in typed.items()}
    return {str(name): value for name, value in _object(values).items() if value is not None}


def _untyped(value: Mapping[str, Any]) -> Any:
    ((kind, inner),) = value.items()
    if kind not in _TYPED:
        raise ValueError(f"{kind} is not a type of a value")
    return _TYPED[kind](inner)


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{value!r:.80} is not an object")  # noqa: TRY004 - it is data, not our code
    return value


def _needed_artifacts(spec: Mapping[str, Any]) -> list[str]:
    inputs = _at(spec, "root", "inputDefinitions", "artifacts")
    return [
        str(name)
        for name, what in inputs.items()
        if not (isinstance(what, dict) and what.get("isOptional") is True)
    ]


def _parameter(what: Any) -> Parameter:
    what = what if isinstance(what, dict) else {}
    optional = what.get("isOptional") is True or "defaultValue" in what
    return Parameter(
        kind=str(what.get("parameterType") or what.get("type") or ""), required=not optional
    )
