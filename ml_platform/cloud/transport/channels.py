"""Cached clients of Google, and one function that applies limits and errors to every call."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from importlib import import_module
from threading import Lock
from typing import Any, TypeVar, cast

from ml_platform.cloud.names import ResourceName
from ml_platform.cloud.raw import unwrap
from ml_platform.conf import get_settings, require_settings
from ml_platform.errors import CloudRejected, PlatformError

from .codes import NOT_SENT, Unreadable, code_of, is_download
from .errors import making_client, reading, translate
from .http import ends_in, mount
from .methods import METHODS

T = TypeVar("T")

FOREIGN_NAME = "foreign_name"
"""The code of the error for a name outside the configured project and location."""
REASON_HEADER = "x-goog-request-reason"
_POOL = 32
_LOCAL_OPTIONS = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    # Reconnect to a restarted local cloud at once; gRPC would wait up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
# service -> (module, class, endpoint; '' is the default of the library)
_CLIENTS = {
    "ModelService": (
        "google.cloud.aiplatform_v1.services.model_service",
        "ModelServiceClient",
        "{location}-aiplatform.googleapis.com",
    ),
    "EndpointService": (
        "google.cloud.aiplatform_v1.services.endpoint_service",
        "EndpointServiceClient",
        "{location}-aiplatform.googleapis.com",
    ),
    "PipelineService": (
        "google.cloud.aiplatform_v1.services.pipeline_service",
        "PipelineServiceClient",
        "{location}-aiplatform.googleapis.com",
    ),
    "Services": ("google.cloud.run_v2.services.services", "ServicesClient", ""),
    "Revisions": ("google.cloud.run_v2.services.revisions", "RevisionsClient", ""),
    "CloudScheduler": (
        "google.cloud.scheduler_v1.services.cloud_scheduler",
        "CloudSchedulerClient",
        "",
    ),
    "MetricService": (
        "google.cloud.monitoring_v3.services.metric_service",
        "MetricServiceClient",
        "",
    ),
}

before_call: list[Callable[[str], None]] = []
"""Functions called with the name of the method before each call; an exception stops the call."""

_reason: ContextVar[str] = ContextVar("reason", default="")
_guards: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("guards", default=())
_patience: ContextVar[list[float] | None] = ContextVar("patience", default=None)
_making = Lock()


@contextmanager
def _inside(variable: ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def request_reason(reason: str) -> AbstractContextManager[None]:
    """Send `reason` with every call made inside, as the system parameter X-Goog-Request-Reason.

    Cloud Audit Logs show it, as Google documents for the input `request_reason` in the README of
    github.com/google-github-actions/auth; it is Request.reason, "used by security systems to
    associate auditing information with a request" (google/rpc/context/attribute_context.proto).

    :raises ValueError: it cannot be sent in a header.
    """
    if not (reason.isascii() and reason.isprintable() and len(reason) <= 200):
        raise ValueError(f"{reason!r} cannot be sent in a header")
    return _inside(_reason, reason)


def guarded(guard: Callable[[], None]) -> AbstractContextManager[None]:
    """Call `guard` before each call with an effect; if it raises, the call is not sent."""
    return _inside(_guards, (*_guards.get(), guard))


def shared_retry_budget() -> AbstractContextManager[None]:
    """Spend RETRY_TIMEOUT only once for all reads inside.

    After one read got no answer in that time, the others are sent once each: while Google is not
    reachable, a long list of reads would wait for each of them.
    """
    return _inside(_patience, [get_settings().RETRY_TIMEOUT])


def sent_once() -> AbstractContextManager[None]:
    """Send each read inside once, whatever Google answers."""
    return _inside(_patience, [0.0])


def call(method: str, send: Callable[[], T]) -> T:
    """Send one request; each attempt ends within CALL_TIMEOUT.

    A read that got UNAVAILABLE is repeated for RETRY_TIMEOUT seconds (see `shared_retry_budget`); a
    call with an effect never, because it may have happened (law 7). `send` is a call of Google's
    client and the reading of its answer, nothing else: whatever it raises is Google's failure.

    :raises PlatformError: according to the table in `errors`, which knows every exception.
    """
    kind = METHODS[method]
    for observer in before_call:
        observer(method)
    for guard in () if kind.is_read else _guards.get():
        guard()

    def attempt() -> T:
        with ends_in(get_settings().CALL_TIMEOUT):
            return send()

    try:
        return _repeat(attempt) if kind.is_read else attempt()
    except PlatformError:
        raise
    except Exception as error:
        raise translate(error, method) from error


def rpc(
    method: str,
    request: dict[str, Any],
    read: Callable[[Any], T] = cast(Any, unwrap),  # noqa: B008 - returns its argument
    *,
    service: str = "",
) -> T:
    """Send one gRPC request of a method in the table; returns what `read` makes of the raw answer.

    An answer that `read` cannot read is unknown, as one that did not come (law 3). `service` is
    given when the client of another service has the method.
    """
    own, _, name = method.partition(".")
    send = getattr(client(service or own), re.sub(r"\B(?=[A-Z])", "_", name).lower())
    timeout = get_settings().CALL_TIMEOUT
    reason = _reason.get()
    metadata = ((REASON_HEADER, reason),) if reason else ()
    answer = call(
        method, lambda: send(request=request, timeout=timeout, retry=None, metadata=metadata)
    )
    with reading(method):
        return read(unwrap(answer))


def rpc_pages(
    method: str,
    request: dict[str, Any],
    read: Callable[[Any], T] = cast(Any, unwrap),  # noqa: B008 - returns its argument
) -> Iterator[T]:
    """Yield what `read` makes of each page until the token is empty; a page may have no items."""

    def read_page(pager: Any) -> tuple[T, str]:
        page = unwrap(next(pager.pages))
        return read(page), page.next_page_token

    token: str | None = ""
    while token is not None:
        page, following = rpc(method, {**request, "page_token": token}, read_page)
        yield page
        token = following or None


def client(service: str) -> Any:
    """Return this process's client of that service (a key of `_CLIENTS`).

    :raises CloudUnavailable: there are no usable credentials.
    """
    settings = require_settings()
    with _making, making_client(service):
        return _make_client(os.getpid(), service, settings.LOCAL_CLOUD, settings.LOCATION)


def storage_client() -> Any:
    """Return the `google.cloud.storage.Client` of this process.

    :raises CloudUnavailable: there are no usable credentials.
    """
    settings = require_settings()
    local = settings.LOCAL_CLOUD_HTTP if settings.LOCAL_CLOUD else ""
    with _making, making_client("storage"):
        return _make_storage_client(os.getpid(), settings.PROJECT_ID, local)


def location_path() -> str:
    """Return `projects/P/locations/L` as configured."""
    settings = require_settings()
    return f"projects/{settings.PROJECT_ID}/locations/{settings.LOCATION}"


def checked(name: ResourceName) -> str:
    """Return the name if it is in the configured project and location.

    A project number is accepted, because it cannot be compared with the configured id.

    :raises CloudRejected: it is elsewhere, where NOT_FOUND would be inconclusive (law 3).
    """
    settings = require_settings()
    foreign = name.location != settings.LOCATION or (
        not name.project.isdigit() and name.project != settings.PROJECT_ID
    )
    if foreign:
        raise CloudRejected(
            f"{name} is outside the configured project {settings.PROJECT_ID} "
            f"and location {settings.LOCATION}.",
            code=FOREIGN_NAME,
            advice="No request was sent. Check PROJECT_ID and LOCATION.",
        )
    return str(name)


def _repeat(send: Callable[[], T]) -> T:
    from google.api_core.exceptions import RetryError
    from google.api_core.retry import Retry

    patience = _patience.get() or [get_settings().RETRY_TIMEOUT]
    again: Callable[[Callable[[], T]], Callable[[], T]] = Retry(
        predicate=lambda error: code_of(error) in ("UNAVAILABLE", NOT_SENT),
        initial=0.1,
        multiplier=2.0,
        maximum=5.0,
        timeout=patience[0],
    )
    try:
        return again(send)()
    except RetryError:
        patience[0] = 0.0
        raise


@lru_cache(maxsize=16)
def _local_channel(pid: int, target: str) -> Any:
    import grpc

    return grpc.insecure_channel(target, options=_LOCAL_OPTIONS)


@lru_cache(maxsize=64)
def _make_client(pid: int, service: str, local: str, location: str) -> Any:
    """The arguments are the cache key: a fork or a changed setting gets a new client."""
    module, name, endpoint = _CLIENTS[service]
    made: Any = getattr(import_module(module), name)
    if local:
        transport = made.get_transport_class("grpc")
        return made(transport=transport(channel=_local_channel(pid, local)))
    return made(client_options={"api_endpoint": endpoint.format(location=location) or None})


@lru_cache(maxsize=16)
def _make_storage_client(pid: int, project: str, local: str) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    here = {"credentials": AnonymousCredentials(), "client_options": {"api_endpoint": local}}
    made = Client(project=project, **(here if local else {}))
    # Its cache sends requests from its own threads, without our limits and our count of calls.
    made._bucket_metadata_cache = None  # noqa: SLF001
    session = made._http  # noqa: SLF001
    mount(session, connections=_POOL, headers=_reason_headers)
    session.hooks["response"].append(_require_checksum)
    mount(session._auth_request_session, connections=1)  # noqa: SLF001 (it fetches the tokens)
    return made


def _require_checksum(response: Any, **_: Any) -> None:
    """Refuse a content without the checksum that Cloud Storage sends with each:
    https://cloud.google.com/storage/docs/xml-api/reference-headers#xgooghash"""
    content = response.status_code in (200, 206) and is_download(response.url)
    if content and "crc32c=" not in response.headers.get("X-Goog-Hash", ""):
        response.close()
        raise Unreadable("it has no checksum")


def _reason_headers() -> dict[str, str]:
    return {REASON_HEADER: _reason.get()} if _reason.get() else {}
