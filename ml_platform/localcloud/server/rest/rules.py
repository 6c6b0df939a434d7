"""The HTTP rules (google.api.http) of a service, read off Google's own REST client."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from .paths import Rule

# MetricService's client has no REST; these are the rules of
# googleapis/google/monitoring/v3/metric_service.proto for projects.
_METRICS: dict[str, tuple[Rule, ...]] = {
    "ListMonitoredResourceDescriptors": (
        Rule("GET", "/v3/{name=projects/*}/monitoredResourceDescriptors"),
    ),
    "GetMonitoredResourceDescriptor": (
        Rule("GET", "/v3/{name=projects/*/monitoredResourceDescriptors/*}"),
    ),
    "ListMetricDescriptors": (Rule("GET", "/v3/{name=projects/*}/metricDescriptors"),),
    "GetMetricDescriptor": (Rule("GET", "/v3/{name=projects/*/metricDescriptors/**}"),),
    "CreateMetricDescriptor": (
        Rule("POST", "/v3/{name=projects/*}/metricDescriptors", "metric_descriptor"),
    ),
    "DeleteMetricDescriptor": (Rule("DELETE", "/v3/{name=projects/*/metricDescriptors/**}"),),
    "ListTimeSeries": (Rule("GET", "/v3/{name=projects/*}/timeSeries"),),
    "CreateTimeSeries": (Rule("POST", "/v3/{name=projects/*}/timeSeries", "*"),),
    "CreateServiceTimeSeries": (
        Rule("POST", "/v3/{name=projects/*}/timeSeries:createService", "*"),
    ),
}


def rules_of(transport_cls: Any) -> dict[str, tuple[Rule, ...]]:
    """Method name to its rules, those of the mixed-in Operations and Locations included.

    The private names are pinned by a test: each method of each service has a rule.
    """
    package, _, _ = transport_cls.__module__.rpartition(".")
    name = transport_cls.__name__.removesuffix("GrpcTransport")
    if name == "MetricService":
        return _METRICS
    module = importlib.import_module(f"{package}.rest_base")
    base = getattr(module, f"_Base{name}RestTransport")
    return {
        method.removeprefix("_Base"): tuple(_rules(options))
        for method, options in vars(base).items()
        if method.startswith("_Base")
    }


def _rules(options: Any) -> Iterator[Rule]:
    get = getattr(options, "_get_http_options", None)
    for option in get() if get is not None else ():
        yield Rule(option["method"].upper(), option["uri"], option.get("body", ""))
