"""The OpenAPI 3.1 contract with all errors and examples, and its page, which needs no script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeAlias

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from ninja import NinjaAPI

from ml_platform import kpis
from ml_platform.api.schemas.base import EXAMPLES, Problem
from ml_platform.conf import OWN_BASE, get_settings
from ml_platform.http_status import phrase_of
from ml_platform.services.access.scope import scope_of

from .auth import identify
from .errors import MEDIA_TYPE, Unauthenticated

DESCRIPTION = """\
The registry of models on Google Cloud: models, endpoints, operations and findings.

Long work answers 202 with its operation; read its Location until the operation has ended.
A POST may have an Idempotency-Key: a repeated request is executed once and gets the same answer.
Errors are application/problem+json with a stable code and advice on what to do.
Lists are read by `page` or by `cursor`, with the exact total.
"""
METHODS = ("get", "post", "put", "patch", "delete")
Json: TypeAlias = dict[str, Any]

ALWAYS = {400, 401, 403, 411, 422, 500, 503}
WITH_ID = {404}
CHANGING = {404, 409, 413, 415, 429, 502}

LOCATION: Json = {
    "Location": {
        "schema": {"type": "string"},
        "description": "The created resource, or the operation that does the work.",
    }
}
KEY_PARAMETER: Json = {
    "in": "header",
    "name": "Idempotency-Key",
    "required": False,
    "schema": {"type": "string", "pattern": r"^[\x21-\x7e]{1,200}$"},
    "description": "Makes it safe to send the request again within a week.",
    "example": "0b6f0d5e-5c1f-4a57-9a5e-6a1a1f6f7a01",
}


def openapi(api: NinjaAPI, prefix: str) -> Json:
    """The contract of an API mounted at `prefix`."""
    schema: Json = json.loads(json.dumps(api.get_openapi_schema(path_prefix=prefix)))
    components = schema["components"]["schemas"]
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.update(problem.pop("$defs", {}))
    components["Problem"] = problem
    for path, method, operation in _operations(schema):
        responses = operation["responses"]
        changing = CHANGING if method != "get" else set()
        for status in sorted(ALWAYS | changing | (WITH_ID if "{" in path else set())):
            own, failure = responses.get(str(status), {}), _failure(status)
            content = own.get("content", {}) | failure["content"]
            responses[str(status)] = failure | {"content": content}
        by_a_user = any("Session" in scheme for scheme in operation.get("security", ()))
        if method == "post" and by_a_user:
            operation.setdefault("parameters", []).append(KEY_PARAMETER)
        for status in {"201", "202"} & responses.keys():
            responses[status]["headers"] = LOCATION
    for name, example in EXAMPLES.items():
        components[name]["examples"] = [example]
    return schema


def _operations(schema: Json) -> Iterator[tuple[str, str, Json]]:
    for path, methods in schema["paths"].items():
        yield from ((path, method, methods[method]) for method in METHODS if method in methods)


def _failure(status: int) -> Json:
    reference = {"$ref": "#/components/schemas/Problem"}
    found: Json = {
        "description": phrase_of(status),
        "content": {MEDIA_TYPE: {"schema": reference}},
    }
    header = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}.get(status)
    if header:
        found["headers"] = {header: {"schema": {"type": "string"}}}
    return found


def openapi_json(api: NinjaAPI, request: HttpRequest) -> HttpResponse:
    """`/api/openapi.json`, for authenticated callers.

    :raises Unauthenticated: the request is not authenticated.
    """
    if identify(request) is None:
        raise Unauthenticated("The request is not authenticated.")
    return HttpResponse(json.dumps(openapi(api, _prefix())), content_type="application/json")


def docs(api: NinjaAPI, request: HttpRequest) -> HttpResponseBase:
    """`/api/docs`: the contract as a page that loads nothing from other hosts."""
    return login_required(_docs)(request, api)


def _docs(request: HttpRequest, api: NinjaAPI) -> HttpResponse:
    schema = openapi(api, _prefix())
    groups: dict[str, list[Json]] = {}
    for path, method, operation in _operations(schema):
        entry = _entry(path, method, operation, schema["components"]["schemas"])
        groups.setdefault((operation.get("tags") or ["system"])[0], []).append(entry)
    base = get_settings().BASE_TEMPLATE
    findings = kpis.open_findings(scope_of(request.user).limit)
    context = {
        "base_template": base,
        "frame": {
            "section": "api",
            "own_base": base == OWN_BASE,
            "user": request.user.get_username(),
            "findings_open": sum(findings.values()),
        },
        "info": schema["info"],
        "groups": groups,
        "contract": f"{_prefix()}openapi.json",
    }
    return render(request, "ml_platform/api_docs.html", context)


def _entry(path: str, method: str, operation: Json, components: Json) -> Json:
    """One operation as the page shows it."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = _resolve(content.get("schema", {}), components)
    required = set(body.get("required", ()))
    return {
        "path": path,
        "method": method.upper(),
        "id": operation["operationId"],
        "description": operation.get("description", ""),
        "parameters": [
            {**_described(each.get("schema", {})), **each} for each in operation["parameters"]
        ],
        "fields": [
            {"name": name, "required": name in required, **_described(field)}
            for name, field in body.get("properties", {}).items()
        ],
        "answers": [
            {
                "status": status,
                "said": answer["description"],
                "example": _example(answer, components),
            }
            for status, answer in sorted(operation["responses"].items())
        ],
    }


def _resolve(schema: Json, components: Json) -> Json:
    """The schema, or the one that it refers to."""
    if "allOf" in schema:
        schema = schema["allOf"][0]
    reference: str = schema.get("$ref", "")
    found: Json = components[reference.rpartition("/")[2]] if reference else schema
    return found


def _described(field: Json) -> Json:
    kinds = [field, *field.get("anyOf", ()), *field.get("allOf", ())]
    names = [str(kind["type"]) for kind in kinds if "type" in kind and kind["type"] != "null"]
    choices = [str(choice) for kind in kinds for choice in kind.get("enum", ())]
    return {
        "kind": names[0] if names else "",
        "choices": ", ".join(choices),
        "description": field.get("description", ""),
    }


def _example(answer: Json, components: Json) -> str:
    for content in answer.get("content", {}).values():
        schema = _resolve(content["schema"], components)
        if examples := schema.get("examples"):
            return json.dumps(examples[0], indent=2)
    return ""


def _prefix() -> str:
    return reverse("ml_platform:api", kwargs={"path": ""})
