"""The paths of the XML API, /BUCKET/OBJECT: each request is led to the JSON API's own call.

After cloud.google.com/storage/docs/xml-api/overview. So a request meets the same gate, faults,
permissions and rules, and what the JSON API refuses is refused here.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from email.utils import format_datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from ...core.access.callers import access_token
from ...core.clock import Clock
from ...server.http_types import HttpError, Reply, Request
from ..storage import Storage
from . import answers, asked
from .signatures import PARAMETERS, Known, signer_of

_Verbs = dict[str, Callable[[Request, str, str], Reply]]


class XmlApi:
    """`dispatch` answers JSON calls; `public_keys` are those of an account that are known."""

    def __init__(
        self,
        dispatch: Callable[[Request], Reply],
        storage: Storage,
        public_keys: Callable[[str], list[rsa.RSAPublicKey]],
        clock: Clock,
    ) -> None:
        self._dispatch, self._find, self._clock = dispatch, storage.tables.find, clock
        self._has_bucket = storage.has_bucket
        self._known = Known(storage.hmac_keys.secret_of, public_keys)
        self._of_object: _Verbs = {
            "GET": self._get,
            "HEAD": self._get,
            "PUT": self._put,
            "POST": self._post,
            "DELETE": self._delete,
        }
        self._of_bucket: _Verbs = {"GET": self._list, "HEAD": self._list}

    def answer(self, request: Request) -> Reply:
        """Answer a path that nothing else serves. Raises HttpError 404 where no bucket can be."""
        bucket, name = asked.place(request)
        try:
            return answers.converted(self._serve(request, bucket, name))
        except HttpError as error:
            return answers.refusal(error)

    def _serve(self, request: Request, bucket: str, name: str) -> Reply:
        resource = f"/{bucket}{request.path}" if asked.in_host(request) else request.path
        account = signer_of(request, resource, self._known, self._clock.now())
        query = {key: text for key, text in request.query.items() if key not in PARAMETERS}
        headers = dict(request.headers)
        if account:
            headers["authorization"] = f"Bearer {access_token(account)}"
        asked.check_headers(headers)
        do = (self._of_object if name else self._of_bucket).get(request.verb)
        if do is None:
            raise asked.unserved(f"{request.verb} of {'an object' if name else 'a bucket'}")
        if not self._has_bucket(bucket):
            # No call of Cloud Storage: a browser asks for /favicon.ico.
            raise HttpError(404, "NoSuchBucket", f"There is no bucket {bucket}.")
        return do(replace(request, query=query, headers=headers), bucket, name)

    def _call(
        self,
        request: Request,
        verb: str,
        path: str,
        query: Mapping[str, str],
        body: bytes = b"",
        **headers: str,
    ) -> Reply:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        whole = dict(query) | asked.conditions(request)
        return self._dispatch(
            replace(
                request,
                verb=verb,
                path=path,
                query=whole,
                pairs=tuple(whole.items()),
                headers=dict(request.headers) | named,
                body=body,
            )
        )

    def _get(self, request: Request, bucket: str, name: str) -> Reply:
        asked.check_query(request, asked.READ)
        path, generation = asked.object_path(bucket, name), asked.generation(request)
        reply = self._call(request, "GET", f"/download{path}", {"alt": "media"} | generation)
        number = reply.headers.get("X-Goog-Generation", "")
        found = self._find(bucket, name, int(number)) if number else None
        if found is not None:
            meta: dict[str, Any] = found.settable.get("metadata", {})
            reply.headers |= {asked.META + key: text for key, text in meta.items()}
            created = datetime.fromisoformat(found.created)
            reply.headers["Last-Modified"] = format_datetime(created, usegmt=True)
        if reply.status < 300:
            ask = request.query.get
            reply.content_type = ask("response-content-type") or reply.content_type
            if shown := ask("response-content-disposition"):
                reply.headers["Content-Disposition"] = shown
        return reply

    def _put(self, request: Request, bucket: str, name: str) -> Reply:
        asked.check_query(request, frozenset())
        asked.check_body(request)
        mark = secrets.token_hex(16)
        about = json.dumps(asked.about(request, name))
        parts = (
            f"--{mark}\r\n\r\n{about}\r\n--{mark}\r\n\r\n".encode(),
            request.body,
            f"\r\n--{mark}--\r\n".encode(),
        )
        reply = self._call(
            request,
            "POST",
            f"/upload/storage/v1/b/{bucket}/o",
            {"uploadType": "multipart"} | asked.access(request),
            b"".join(parts),
            content_type=f"multipart/related; boundary={mark}",
        )
        if reply.status != 200 or reply.broken is not None:
            return reply
        made = Request("", "", body=reply.body).json()
        hashes = [f"crc32c={made['crc32c']}"] if "crc32c" in made else []
        hashes += [f"md5={made['md5Hash']}"] if "md5Hash" in made else []
        said = {
            "ETag": f'"{made["etag"]}"',
            "X-Goog-Generation": made["generation"],
            "X-Goog-Metageneration": made["metageneration"],
            "X-Goog-Hash": ",".join(hashes),
            "X-Goog-Stored-Content-Length": made["size"],
        }
        headers = {key: text for key, text in said.items() if text}
        return Reply(200, content_type="text/html; charset=UTF-8", headers=headers)

    def _post(self, request: Request, bucket: str, name: str) -> Reply:
        """Begin a resumable upload; its session is continued as the JSON API's."""
        asked.check_query(request, frozenset())
        if request.headers.get("x-goog-resumable") != "start":
            raise asked.unserved("multipart uploads and POST of objects")
        if asked.RANGE in request.headers:
            raise asked.unserved(f"{asked.RANGE} of resumable uploads")
        reply = self._call(
            request,
            "POST",
            f"/upload/storage/v1/b/{bucket}/o",
            {"uploadType": "resumable"} | asked.access(request),
            json.dumps(asked.about(request, name)).encode(),
            content_type="application/json",
        )
        return replace(reply, status=201) if reply.status == 200 else reply

    def _delete(self, request: Request, bucket: str, name: str) -> Reply:
        asked.check_query(request, frozenset(("generation",)))
        path, generation = asked.object_path(bucket, name), asked.generation(request)
        return self._call(request, "DELETE", path, generation)

    def _list(self, request: Request, bucket: str, name: str) -> Reply:
        del name
        wanted = asked.listing(request)
        path, query = f"/storage/v1/b/{bucket}/o", wanted.query
        reply = self._call(request, "GET", path, query)
        while reply.status == 200 and reply.broken is None:
            found = Request("", "", body=reply.body).json()
            more = found.get("nextPageToken", "")
            names = [item["name"] for item in found.get("items", ())] + found.get("prefixes", [])
            if names or not more:
                return answers.listing(bucket, wanted.repeated(names, more), found)
            # An empty page that is not the last: it has no name to go on with.
            reply = self._call(request, "GET", path, {**query, "pageToken": more})
        return reply
