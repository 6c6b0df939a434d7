"""What a compiled pipeline demands of its runtime config: pure functions over JSON.

`root.inputDefinitions` of kfp's pipeline_spec.proto: `parameterType` since schema 2.1.0, `type`
before it. Up to 2.0.0 the values are in `parameters`, since then in `parameterValues`
(PipelineJob.RuntimeConfig in google/cloud/aiplatform/v1/pipeline_job.proto).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...core.errors import invalid

# By the type that a template declares: the types of JSON that its values have.
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
    "TASK_FINAL_STATUS": (dict,),
}
_OLD_FIELDS = {
    "INT": "intValue",
    "NUMBER_INTEGER": "intValue",
    "DOUBLE": "doubleValue",
    "NUMBER_DOUBLE": "doubleValue",
    "STRING": "stringValue",
}


def check_inputs(spec: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """INVALID_ARGUMENT unless the config has each required input, and each of its type.

    `spec` and `config` are the JSON of pipeline_spec and runtime_config. Vertex refuses a pipeline
    with a required artifact that is not given (kubeflow/pipelines#12555); whether it refuses a
    parameter that is not declared is not known: it passes here.
    """
    root = spec.get("root")
    if not root:
        return  # not a compiled template: nothing is declared
    inputs = root.get("inputDefinitions", {})
    artifacts = inputs.get("artifacts", {})
    missing = [name for name, wanted in artifacts.items() if not wanted.get("isOptional")]
    if missing:
        raise _wrong("input_artifacts", f"The required input artifact {missing[0]!r} is missing.")
    old = _is_old(spec, config)
    used, unused = ("parameters", "parameterValues") if old else ("parameterValues", "parameters")
    if config.get(unused):
        version = spec.get("schemaVersion", "")
        raise _wrong(unused, f"Not used by a pipeline of schema version {version!r}.")
    declared, given = inputs.get("parameters", {}), config.get(used, {})
    for name in declared.keys() & given.keys():
        _check_value(name, given[name], declared[name], old=old)
    for name in declared.keys() - given.keys():
        if not (declared[name].get("isOptional") or "defaultValue" in declared[name]):
            raise _wrong(used, f"The required parameter {name!r} is missing.")


def _is_old(spec: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    version = str(spec.get("schemaVersion", ""))
    if not re.fullmatch(r"\d+(\.\d+)*", version):
        return "parameters" in config
    return [int(part) for part in version.split(".")] <= [2, 0, 0]


def _check_value(name: str, value: Any, declared: Mapping[str, Any], *, old: bool) -> None:
    used = "parameters" if old else "parameterValues"
    kind = declared.get("parameterType") or declared.get("type", "")
    fits = _OLD_FIELDS.get(kind) in value if old else _is_of(kind, value)
    if not fits:
        raise _wrong(used, f"The parameter {name!r} must be of type {kind}.")


def _wrong(field: str, message: str) -> Exception:
    names = {"parameterValues": "parameter_values"}
    return invalid(f"pipeline_job.runtime_config.{names.get(field, field)}", message)


def _is_of(kind: str, value: Any) -> bool:
    types = _JSON_TYPES.get(kind)
    if types is None or isinstance(value, bool):
        return types is None or bool in types
    whole = kind != "NUMBER_INTEGER" or not isinstance(value, float) or value.is_integer()
    return whole and isinstance(value, types)
