"""The Retry Test API of googleapis/storage-testbench: failures in an order that a test lays down.

POST /retry_test with `{"instructions": {"storage.objects.get": ["return-503"]}}` answers an id; a
request with the header `x-retry-test-id` takes the next instruction of its method.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import grpc

from ...core.errors import CloudError
from ...server.http import torn
from ...server.http_types import HttpError, Reply, Request, Route, json_reply

_INSERT = "storage.objects.insert"
_GET = "storage.objects.get"
_QUARTER = 256 * 1024
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_ONE = r"/retry_test/(?P<key>[^/]+)"
Do = Callable[[Request], Reply]


@dataclass(slots=True)
class _Test:
    key: str
    left: dict[str, list[str]] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        """The resource, as the testbench shows it."""
        done = not any(self.left.values())
        return {"id": self.key, "instructions": self.left, "completed": done, "transport": "HTTP"}


class RetryTests:
    """Every test in memory, until it is deleted; `methods` are the calls that exist."""

    def __init__(self) -> None:
        self.methods: set[str] = set()
        self._tests: dict[str, _Test] = {}
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        """The API itself, which no fault reaches."""
        return [
            Route("GET", "/retry_tests", "", self._list),
            Route("POST", "/retry_test", "", self._create),
            Route("GET", _ONE, "", self._get),
            Route("DELETE", _ONE, "", self._delete),
        ]

    def reset(self) -> None:
        """No tests."""
        with self._lock:
            self._tests.clear()

    def play(self, call: str, request: Request, do: Do) -> Reply:
        """Serve a request as the next instruction of its test says, if it has one.

        An instruction that does not fit this request (bytes that it does not reach) stays.
        """
        key = request.headers.get("x-retry-test-id", "")
        left = self._test(key).left.get(call) if key else None
        if not left:
            return do(request)
        for pattern, player in _PLAYERS:
            if (match := pattern.fullmatch(left[0])) is not None:
                return player(call, request, do, left, *map(_number, match.groups()))
        return do(request)

    def _test(self, key: str) -> _Test:
        with self._lock:
            if key not in self._tests:
                raise HttpError(404, "notFound", f"Retry Test {key} does not exist.")
            return self._tests[key]

    def _list(self, request: Request) -> Reply:
        del request
        with self._lock:
            return json_reply({"retry_test": [test.shown() for test in self._tests.values()]})

    def _create(self, request: Request) -> Reply:
        wanted = request.json()
        instructions = wanted.get("instructions")
        if not instructions or not isinstance(instructions, dict):
            raise HttpError(400, "invalid", "instructions is not defined")
        if str(wanted.get("transport", "HTTP")).upper() != "HTTP":
            raise _unserved("a retry test over gRPC")
        left = {method: self._checked(method, items) for method, items in instructions.items()}
        test = _Test(uuid.uuid4().hex, left)
        with self._lock:
            self._tests[test.key] = test
        return json_reply(test.shown())

    def _checked(self, method: str, items: object) -> list[str]:
        if method not in self.methods:
            raise HttpError(400, "invalid", f"The method <{method}> is not served.")
        names = [str(item) for item in items] if isinstance(items, Iterable) else []
        for name in names:
            if _ELSEWHERE.fullmatch(name):
                raise _unserved(f"the instruction <{name}>")
            if not any(pattern.fullmatch(name) for pattern, _ in _PLAYERS):
                raise HttpError(400, "invalid", f"The fault injection request <{name}>")
        return names

    def _get(self, request: Request, key: str) -> Reply:
        del request
        return json_reply(self._test(key).shown())

    def _delete(self, request: Request, key: str) -> Reply:
        del request
        self._test(key)
        with self._lock:
            self._tests.pop(key, None)
        return Reply(200, f"Deleted {key}".encode(), "text/plain")


# what each instruction does; `left` is the method's list, from which it takes itself


def _refuse(call: str, request: Request, do: Do, left: list[str], status: int) -> Reply:
    del call, request, do
    left.pop(0)
    raise _caused(status)


def _reset(call: str, request: Request, do: Do, left: list[str]) -> Reply:
    del call, request, do
    left.pop(0)
    return Reply(broken=torn.reset)


def _break(call: str, request: Request, do: Do, left: list[str], kib: int | None = None) -> Reply:
    reply = do(request)
    after = 4 if kib is None else kib * 1024
    if len(reply.body) >= after and (kib is None or call == _GET):
        left.pop(0)
        reply.broken = partial(torn.reset_after, after)
    return reply


def _stall(call: str, request: Request, do: Do, left: list[str], seconds: int, kib: int) -> Reply:
    reply, after = do(request), kib * 1024
    if call == _INSERT and len(request.body) >= after:
        left.pop(0)
        reply.broken = partial(torn.stall, seconds, None)
    elif call != _INSERT and len(reply.body) > after:
        left.pop(0)
        reply.broken = partial(torn.stall, seconds, after)
    return reply


def _shorten(call: str, request: Request, do: Do, left: list[str], size: int) -> Reply:
    reply = do(request)
    if call == _INSERT and "upload_id" in request.query and reply.status == 200:
        left.pop(0)
        reply.body = reply.body[:size]
    return reply


def _refuse_after(
    call: str, request: Request, do: Do, left: list[str], status: int, kib: int
) -> Reply:
    """Refuse an upload when it reaches so many bytes; a resumable one keeps those before."""
    after = kib * 1024
    match = _RANGE.fullmatch(request.headers.get("content-range", ""))
    first = int(match[1]) if match else 0
    if call != _INSERT or not request.body or first + len(request.body) < after:
        return do(request)
    left.pop(0)
    if "upload_id" in request.query:
        _keep(request, do, first, after // _QUARTER * _QUARTER)
    raise _caused(status)


def _keep(request: Request, do: Do, first: int, stop: int) -> None:
    """Have only the bytes before `stop` arrive, in the multiples that Google keeps."""
    if stop > first:
        headers = {**request.headers, "content-range": f"bytes {first}-{stop - 1}/*"}
        do(replace(request, body=request.body[: stop - first], headers=headers))


_PLAYERS: tuple[tuple[re.Pattern[str], Callable[..., Reply]], ...] = (
    (re.compile(r"return-(\d{3})"), _refuse),
    (re.compile(r"return-reset-connection"), _reset),
    (re.compile(r"return-broken-stream(?:-after-(\d+)K)?"), _break),
    (re.compile(r"return-broken-stream-final-chunk-after-(\d+)B"), _shorten),
    (re.compile(r"return-(\d{3})-after-(\d+)K"), _refuse_after),
    (re.compile(r"stall-for-(\d+)s-after-(\d+)K"), _stall),
)
# The testbench has these for gRPC and for buckets of another region.
_ELSEWHERE = re.compile(r"redirect-.+|return-unreachable-buckets-.+|return-\d{3}-if-dp-enforced")


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)


def _caused(status: int) -> HttpError:
    return HttpError(status, "backendError", f"Retry Test: Caused a {status}")


def _unserved(what: str) -> CloudError:
    return CloudError(grpc.StatusCode.UNIMPLEMENTED, f"The local cloud does not serve {what}.")
