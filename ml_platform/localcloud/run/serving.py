"""Requests to the URLs of Cloud Run's services: an echo that says which revision answers.

`https://HOST/PATH` is served at `/_run/HOST/PATH` of the HTTP port, for the services' own URLs and
those of their tags. Who may call is checked as Cloud Run does:
cloud.google.com/run/docs/authenticating/service-to-service and .../run/docs/troubleshooting.
"""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import google.auth.exceptions
import google.auth.jwt
from google.cloud.run_v2.types import revision as revision_types
from google.iam.v1 import iam_policy_pb2

from ..core.core import Core
from ..server.http_types import Reply, Request, Route, json_reply
from ..server.identity.oidc import Identity
from .revisions import Revisions
from .rollout import SERVICE
from .rules import Service
from .services import CloudRun

ROOT = "/_run"
_INVOKERS = ("roles/run.invoker", "roles/run.servicesInvoker", "roles/run.admin")
_VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ALL = 1  # IngressTraffic.INGRESS_TRAFFIC_ALL
_UNVERIFIED = (
    'Bearer error="invalid_token" error_description="The access token could not be verified"'
)


class Serving:
    """Answers for every service; traffic is split exactly over each hundred requests."""

    def __init__(self, core: Core, identity: Identity, run: CloudRun, revisions: Revisions) -> None:
        self._store, self._names, self._identity = core.store, core.names, identity
        self._run, self._revisions = run, revisions
        self._requests: Counter[str] = Counter()

    def routes(self) -> list[Route]:
        """Every path below /_run/HOST, ungated: an Authorization header may be the service's."""
        pattern = ROOT + r"/(?P<host>[^/]+)(?P<path>.*)"
        return [Route(verb, pattern, "", self._answer) for verb in _VERBS]

    def _answer(self, request: Request, host: str, path: str) -> Reply:
        for place in self._names.places:
            with self._names.at(place):
                service, tag = self._find(host)
                if service is not None and _reachable(service, request):
                    return self._serve(request, service, tag, host, path)
        return _nothing()

    def _serve(self, request: Request, service: Any, tag: str, host: str, path: str) -> Reply:
        refusal = self._refusal(service, host, path, request)
        if refusal is not None:
            return refusal
        short = self._revision(service, tag)
        if not short:
            return _nothing()
        name = f"{service.name}/revisions/{short}"
        revision = self._revisions.get_revision(revision_types.GetRevisionRequest(name=name))
        return json_reply(_echo(service, revision, tag, path, request))

    def _find(self, host: str) -> tuple[Any, str]:
        """The service that has this host, and the tag before its name ('' for none)."""
        tag, dashes, bare = host.partition("---")
        wanted = bare if dashes else host
        for _, blob in self._store.list(SERVICE):
            service = Service.FromString(blob)
            if wanted in {urlsplit(url).netloc for url in (service.uri, *service.urls)}:
                return service, tag if dashes else ""
        return None, ""

    def _revision(self, service: Any, tag: str) -> str:
        """Whose turn it is: the tag's, or that of the percents."""
        if tag:
            tagged = (one.revision for one in service.traffic_statuses if one.tag == tag)
            return next(tagged, "")
        # 37 and 100 have no common divisor: a hundred turns meet each percent once.
        turn = self._requests[service.uid] * 37 % 100
        self._requests[service.uid] += 1
        for status in service.traffic_statuses:
            if turn < status.percent:
                return str(status.revision)
            turn -= status.percent
        return ""

    def _refusal(self, service: Any, host: str, path: str, request: Request) -> Reply | None:
        """401 for a token that is not valid here, 403 for a caller who is no invoker."""
        members = set(self._invokers(service))
        if service.invoker_iam_disabled or "allUsers" in members:
            return None
        url = f"<code>{html.escape(path or '/')}</code>"
        headers = request.headers
        given = headers.get("x-serverless-authorization") or headers.get("authorization", "")
        email = self._email(service, host, given, request.base_url) if given else ""
        if given and not email:
            text = f"Your client does not have permission to the requested URL {url}."
            reply = _page(401, "Unauthorized", text)
            reply.headers["WWW-Authenticate"] = _UNVERIFIED
            return reply
        domain = email.rpartition("@")[2]
        known = {"allAuthenticatedUsers", f"domain:{domain}"}
        if email and members & (known | {f"{kind}:{email}" for kind in ("serviceAccount", "user")}):
            return None
        text = f"Your client does not have permission to get URL {url} from this server."
        return _page(403, "Forbidden", text)

    def _invokers(self, service: Any) -> Iterator[str]:
        """The members who may call it; a conditional binding gives nothing here."""
        asked = iam_policy_pb2.GetIamPolicyRequest(resource=service.name)
        for binding in self._run.get_iam_policy(asked).bindings:
            if binding.role in _INVOKERS and not binding.HasField("condition"):
                yield from binding.members

    def _email(self, service: Any, host: str, header: str, base_url: str) -> str:
        """Whose ID token it is; '' when it is not valid, or for another audience."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            return ""
        try:
            claims = google.auth.jwt.decode(token, certs=self._identity.certificates())
        except (ValueError, google.auth.exceptions.GoogleAuthError):
            return ""
        hosts = {host, *(urlsplit(url).netloc for url in (service.uri, *service.urls))}
        urls = {f"{before}{one}" for one in hosts for before in ("https://", f"{base_url}{ROOT}/")}
        audience = str(claims.get("aud", ""))
        ours = audience in service.custom_audiences or any(
            audience == url or audience.startswith(f"{url}/") for url in urls
        )
        return str(claims.get("email", "")) if ours else ""


def _reachable(service: Any, request: Request) -> bool:
    """Whether the request comes from where the service's ingress allows.

    All callers are outside, except for Cloud Scheduler, whose requests are internal
    (cloud.google.com/run/docs/securing/ingress#internal-services).
    """
    internal = request.headers.get("x-cloudscheduler") == "true"
    return not service.default_uri_disabled and (service.ingress == _ALL or internal)


def _echo(service: Any, revision: Any, tag: str, path: str, request: Request) -> dict[str, Any]:
    """What answers, and what it was sent; `instances` come back as `predictions`."""
    body = _body(request.body)
    answer = {
        "service": service.name.rpartition("/")[2],
        "revision": revision.name.rpartition("/")[2],
        "tag": tag,
        "labels": dict(revision.labels),
        "env": {one.name: one.value for one in revision.containers[0].env},
        "method": request.verb,
        "path": path or "/",
        "query": dict(request.query),
        "body": body,
    }
    if isinstance(body, dict) and isinstance(body.get("instances"), list):
        answer["predictions"] = body["instances"]
    return answer


def _body(data: bytes) -> Any:
    """JSON as it is, everything else as text."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode(errors="replace")


def _nothing() -> Reply:
    return _page(404, "Page not found", "The requested URL was not found on this server.")


def _page(status: int, title: str, text: str) -> Reply:
    body = (
        f"<html><head><title>{status} {title}</title></head><body><h1>Error: {title}</h1>"
        f"<h2>{text}</h2></body></html>"
    )
    return Reply(status, body.encode(), "text/html; charset=UTF-8")
