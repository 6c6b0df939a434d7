"""Our fields of a Cloud Run service: what we wrote there, and which of them differ now.

A deploy tells the differences before it overwrites them, a sweep makes a finding of them, and its
repair records them as ours (law 13). What others set beside them is not compared.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from django.utils.crypto import salted_hmac

from ml_platform.cloud.run_messages import ARTIFACT_ENV
from ml_platform.cloud.types import Ingress, ServiceSpec
from ml_platform.errors import Invalid

from .config import ServingConfig

_LEFT_OPEN: Mapping[str, Any] = {"ingress": Ingress.ALL, "service_account": ""}
"""Settings with the value by which a configuration leaves them to others."""
_SETTINGS = (
    "image", "cpu", "memory", "min_instances", "max_instances", "concurrency",
    "timeout_seconds", *_LEFT_OPEN,
)  # fmt: skip
"""What a configuration names."""
_OURS = ("port", *_SETTINGS)
_UNITS: dict[str, Decimal | int] = {
    "": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30,
}  # fmt: skip
INVOKER = "invoker"
_OWN_ENV = "AIP_"
"""Begins the names of the variables that we set on every service."""


class NotExpressible(Invalid):
    """A service was changed to what none of our settings can say."""

    code = "not_expressible"
    advice = "Put ours back, or change it on Cloud Run."


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One field of ours that a service has otherwise."""

    group: str
    """`setting`, `env`, `label` or `invoker`."""
    name: str
    words: str


def differences(found: ServiceSpec, before: ServiceSpec) -> Iterator[Difference]:
    """Yield what of our fields differs in a service from what we wrote `before`.

    The value of a variable may be a secret, so it is not told.
    """
    for name in _OURS:
        theirs, ours = getattr(found, name), getattr(before, name)
        if ours != _LEFT_OPEN.get(name) and _amount(theirs) != _amount(ours):
            words = f"{name} is {theirs or 'unset'}, not {ours}"
            yield Difference(group="setting", name=name, words=words)
    for name, value in before.env.items():
        if name in found.secrets or found.env.get(name) != value:
            words = f"env {name} is {'changed' if name in found.env else 'removed'}"
            yield Difference(group="env", name=name, words=words)
    for key, value in before.labels.items():
        if found.labels.get(key) != value:
            words = f"label {key} is {found.labels.get(key) or 'removed'}, not {value}"
            yield Difference(group="label", name=key, words=words)


def lost_invokers(config: ServingConfig, held: Collection[str]) -> Iterator[Difference]:
    """Yield the members of a configuration that are not among those who may call its service; whom
    others let call it is theirs. IAM may write an address in lowercase."""
    known = {member.lower() for member in held}
    for member in config.invokers:
        if member.lower() not in known:
            yield Difference(group=INVOKER, name=member, words=f"{member} may not call it")


def _amount(value: object) -> object:
    """A quantity as its number, because Cloud Run may write 1 CPU as 1000m; others unchanged."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d*\.?\d+)(m|Ki|Mi|Gi|k|M|G|)", value)
    return Decimal(match[1]) * _UNITS[match[2]] if match else value


def take_over(
    config: ServingConfig, found: ServiceSpec, differing: Collection[Difference]
) -> ServingConfig:
    """Return the configuration with what the service has in place of these differences.

    The artifacts are not of a configuration: the caller decides on them.

    :raises NotExpressible: a configuration cannot say it; the message names the field.
    """
    fields = config.to_dict()
    for one in differing:
        if one.name == ARTIFACT_ENV:
            continue
        if one.group == INVOKER:
            fields["invokers"] = [member for member in fields["invokers"] if member != one.name]
        elif one.group == "setting" and one.name in _SETTINGS:
            fields[one.name] = _as_we_write(one.name, getattr(found, one.name))
        elif one.group == "env" and one.name in config.env and one.name not in found.secrets:
            kept = {name: value for name, value in fields["env"].items() if name != one.name}
            there = {one.name: found.env[one.name]} if one.name in found.env else {}
            fields["env"] = kept | there
        else:
            raise NotExpressible(f"{one.words}, which no setting can say.")
    try:
        return ServingConfig.from_dict(fields)
    except Invalid as error:
        raise NotExpressible(error.words) from error


def with_theirs(
    written: ServiceSpec, found: ServiceSpec, differing: Collection[Difference]
) -> ServiceSpec:
    """Return what we wrote with what the service has in place of these differences."""
    settings: dict[str, Any] = {
        one.name: getattr(found, one.name) for one in differing if one.group == "setting"
    }
    variables = {one.name for one in differing if one.group == "env"}
    kept = {name: value for name, value in written.env.items() if name not in variables}
    theirs = {name: found.env[name] for name in variables if name in found.env}
    return replace(written, env=kept | theirs, **settings)


def _as_we_write(name: str, value: Any) -> Any:
    """CPUs as `2`, not `2000m`; memory in Mi or Gi."""
    amount = _amount(value)
    if name == "cpu" and isinstance(amount, Decimal):
        return f"{amount.normalize():f}"
    if name == "memory" and isinstance(amount, Decimal) and amount % _UNITS["Mi"] == 0:
        size = int(amount / _UNITS["Mi"])
        return f"{size // 1024}Gi" if size % 1024 == 0 else f"{size}Mi"
    return value


# ---- as rows keep them ---------------------------------------------------------------------------


def keep_written(spec: ServiceSpec, *, revision: str, operation: str = "") -> dict[str, Any]:
    """What we wrote, as the endpoint's row keeps it beside its configuration.

    `revision` is the one that it made; `operation` the deploy, '' for a sweep that took it from a
    service of before there were such rows.
    """
    return {"revision": revision, "operation": operation, **_plain(spec)}


def keep_seen(spec: ServiceSpec) -> dict[str, Any]:
    """What a service has, as the mirror keeps it: values of variables as digests."""
    return {**_plain(_hidden(spec)), "secrets": list(spec.secrets)}


def read_seen(seen: Mapping[str, Any]) -> ServiceSpec:
    """A service as the mirror has it."""
    return _read(seen)


def read_written(written: Mapping[str, Any] | None, *, revision: str) -> ServiceSpec | None:
    """What we wrote; None if the row has not what made this revision of the endpoint.

    A row of before has nothing, and the release before does not update it.
    """
    if not written or written["revision"] != revision:
        return None
    return _read(written)


def compare_seen(found: ServiceSpec, written: ServiceSpec) -> tuple[Difference, ...]:
    """What differs between a service as the mirror has it and what we wrote."""
    return tuple(differences(found, _hidden(written)))


def as_seen(given: ServiceSpec, found: ServiceSpec) -> ServiceSpec:
    """What a service of before has in our fields, as if we had written it; `given` is what its
    endpoint's configuration asks for.

    A variable that has another value there is left out, because the mirror does not say which.
    """
    own = {n: v for n, v in found.env.items() if n.startswith(_OWN_ENV) and n in given.env}
    same = {n: v for n, v in given.env.items() if found.env.get(n) == _digest(v)}
    kept = {name: value for name, value in _LEFT_OPEN.items() if getattr(given, name) == value}
    return replace(found, env=own | same, labels={}, secrets=(), **kept)


def _plain(spec: ServiceSpec) -> dict[str, Any]:
    return {"env": dict(spec.env), **{name: getattr(spec, name) for name in _OURS}}


def _read(kept: Mapping[str, Any]) -> ServiceSpec:
    return ServiceSpec(
        labels={},
        env=kept["env"],
        secrets=tuple(kept.get("secrets", ())),
        **{name: kept[name] for name in _OURS},
    )


def _hidden(spec: ServiceSpec) -> ServiceSpec:
    """The same with digests for values that may be secrets; ours on every service are none."""
    hidden = {
        name: value if name.startswith(_OWN_ENV) else _digest(value)
        for name, value in spec.env.items()
    }
    return replace(spec, env=hidden)


def _digest(value: str) -> str:
    """Comparable within one sweep only: with another SECRET_KEY it is another one."""
    return salted_hmac("ml_platform.our_fields", value, algorithm="sha256").hexdigest()[:16]
