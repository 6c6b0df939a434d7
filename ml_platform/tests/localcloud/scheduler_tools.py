"""A web server that Cloud Scheduler's jobs call, and a job that calls it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.cloud import scheduler_v1

NAME = "projects/demo-project/locations/europe-central2/jobs/nightly"
RINGER = "ringer@demo-project.iam.gserviceaccount.com"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Hook:
    """A web server that keeps what it is sent and answers as it is told."""

    def __init__(self) -> None:
        self.rings: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.before: Callable[[], object] = lambda: None
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def _ring(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                hook.rings.append((f"{self.command} {self.path}", dict(self.headers), body))
                hook.before()
                self.send_response(hook.status)
                for name, text in hook.headers.items():
                    self.send_header(name, text)
                self.end_headers()

            do_POST = do_PUT = do_GET = _ring

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/?a=1"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """Hang up."""
        self._server.shutdown()
        self._server.server_close()


def nightly(url: str, **more: Any) -> scheduler_v1.Job:
    """A job that rings at four."""
    token = scheduler_v1.OidcToken(service_account_email=RINGER)
    target = scheduler_v1.HttpTarget(
        uri=url, body=b"{}", headers={"Content-Type": "application/json"}, oidc_token=token
    )
    fixed = {"name": NAME, "schedule": "0 4 * * *", "time_zone": "UTC", "http_target": target}
    return scheduler_v1.Job(**(fixed | more))
