"""How much CPU and memory Cloud Run gives a container, and which of them go together.

Limits of cloud.google.com/run/docs/configuring/services/cpu and .../memory-limits.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from ..core.errors import CloudError
from .refusals import refuse

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)(k|Ki|M|Mi|G|Gi)?")
_BYTES = {"k": 10**3, "Ki": 2**10, "M": 10**6, "Mi": 2**20, "G": 10**9, "Gi": 2**30}
# From this many CPUs on: the least and the most memory in MiB.
_ROOM = (
    (Decimal(8), 4096, 32768),
    (Decimal(6), 4096, 24576),
    (Decimal(4), 2048, 16384),
    (Decimal(2), 128, 8192),
    (Decimal(1), 128, 4096),
    (Decimal("0.5"), 128, 1024),
    (Decimal("0.08"), 128, 512),
)
_WHOLE = (1, 2, 4, 6, 8)
_GEN2 = 2  # ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2
_GEN2_LEAST = 512
_GPU = "nvidia.com/gpu"


def check_resources(template: Any, number: int) -> None:
    """INVALID_ARGUMENT for limits of container `number` that Cloud Run does not give."""
    limits = template.containers[number].resources.limits
    field = f"template.containers[{number}].resources.limits"
    for name in limits:
        if name not in ("cpu", "memory", _GPU):
            raise refuse(field, f"Only cpu, memory and {_GPU} are supported, not {name!r}.")
    cpu = cpus(limits.get("cpu", "1"))
    if cpu is None or not (Decimal("0.08") <= cpu < 1 or cpu in _WHOLE):
        raise _no_cpu(number, "It must be 1, 2, 4, 6 or 8, or from 0.08 to below 1.")
    _check_memory(f"{field}.memory", limits.get("memory", "512Mi"), cpu, template)
    if cpu < 1:
        _check_small(template, number)


def cpus(text: str) -> Decimal | None:
    """`500m`, `0.5` or `2` as a number of CPUs in steps of 0.001; None when it is malformed."""
    if not re.fullmatch(r"\d+m|\d*\.?\d+", text, re.ASCII):
        return None
    number = Decimal(text[:-1]) / 1000 if text.endswith("m") else Decimal(text)
    return number if number * 1000 % 1 == 0 else None


def _check_memory(field: str, text: str, cpu: Decimal, template: Any) -> None:
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise refuse(
            field,
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        )
    _, least, most = next(room for room in _ROOM if cpu >= room[0])
    where = "container memory"
    if template.execution_environment == _GEN2:
        where, least = "memory with gen2 execution environment", max(least, _GEN2_LEAST)
    amount = Decimal(match[1]) * _BYTES.get(match[2] or "", 1) / 2**20
    if not least <= amount <= most:
        raise refuse(
            field,
            f"Invalid value specified for {where}. For {cpu:.1f} CPU, memory must be between "
            f"{_written(least)} and {_written(most)} inclusive.\nFor more troubleshooting "
            "guidance, see https://cloud.google.com/run/docs/configuring/memory-limits",
        )


def _written(mebibytes: int) -> str:
    return f"{mebibytes}Mi" if mebibytes < 1024 else f"{mebibytes // 1024}Gi"


def _check_small(template: Any, number: int) -> None:
    """What a container with less than one CPU must do without."""
    if template.max_instance_request_concurrency > 1:
        raise _no_cpu(number, "Total cpu < 1 is not supported with concurrency > 1.")
    if template.execution_environment == _GEN2:
        raise _no_cpu(number, "Total cpu < 1 is not supported with gen2 execution environment.")
    if not template.containers[number].resources.cpu_idle:
        raise _no_cpu(number, "Total cpu < 1 is not supported with cpu always allocated.")


def _no_cpu(number: int, why: str) -> CloudError:
    field = f"template.containers[{number}].resources.limits.cpu"
    return refuse(field, f"Invalid value specified for cpu. {why}")
