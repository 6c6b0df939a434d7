"""What must hold in each host, in this order: a later check uses what an earlier one made."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urljoin, urlsplit

import grpc
import requests
from google.cloud.scheduler_v1 import CloudSchedulerClient

from .host import Failed, Host

PATIENCE = 30.0
INLINE = re.compile(r"<style|<script(?![^>]*\ssrc=)|\s(?:style|on\w+)=\"", re.IGNORECASE)


class Visitor:
    """A browser without scripts, and a client of the API, of one host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.browser = requests.Session()
        self.browser.trust_env = False
        self.token = ""
        self.project: int | str = ""

    def get(self, path: str) -> requests.Response:
        """A page or file of the site that answers 200."""
        answer = self.browser.get(self.host.url(path), timeout=PATIENCE)
        return good(answer, 200)

    def sign_in(self) -> None:
        """By the page that the host names: the admin's."""
        page = self.get("/ml/")
        form = {
            "username": "ana",
            "password": "change-me",
            "csrfmiddlewaretoken": self.browser.cookies["csrftoken"],
            "next": urlsplit(self.host.url("/ml/")).path,
        }
        answer = self.browser.post(page.url, form, headers={"Referer": page.url}, timeout=PATIENCE)
        good(answer, 200)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What the API answers, by the token; Failed for a refusal."""
        answer = self.browser.request(
            method,
            self.host.url(f"/ml/api/{path}"),
            json=body,
            headers={"Authorization": f"Bearer {self.token}", "Idempotency-Key": uuid.uuid4().hex},
            timeout=PATIENCE,
        )
        return good(answer, 200, 201, 202).json()

    def done(self, operation: Any) -> None:
        """Wait until the worker of the host has ended the operation."""
        ended = until(
            lambda: self.ask("GET", f"operations/{operation['id']}/"),
            lambda now: now["status"] not in ("pending", "running"),
        )
        if ended["status"] != "succeeded":
            raise Failed(json.dumps(ended))


def good(answer: requests.Response, *codes: int) -> requests.Response:
    """The answer; Failed if it has another status."""
    if answer.status_code not in codes:
        asked = f"{answer.request.method} {answer.request.url}"
        raise Failed(f"{asked} answered {answer.status_code}:\n{answer.text[:3000]}")
    return answer


def until(read: Callable[[], Any], is_good: Callable[[Any], bool]) -> Any:
    """What was read when it was good; Failed after half a minute."""
    deadline = time.monotonic() + PATIENCE
    while not is_good(found := read()):
        if time.monotonic() > deadline:
            raise Failed(f"still {found}")
        time.sleep(0.2)
    return found


def equal(found: object, expected: object) -> None:
    """Failed if they differ."""
    if found != expected:
        raise Failed(f"{found!r}, expected {expected!r}")


# ---- the checks ----------------------------------------------------------------------------------


def check_settings(visitor: Visitor) -> None:
    """No check of ours or of Django's warns of anything."""
    said = visitor.host.manage("check", "--fail-level", "WARNING")
    if "no issues" not in said:
        raise Failed(said)


def check_migrations(visitor: Visitor) -> None:
    """The host's own settings make no migration of ours."""
    said = visitor.host.manage("makemigrations", "--check", "--dry-run")
    if "No changes detected" not in said:
        raise Failed(said)


def check_pages(visitor: Visitor) -> None:
    """A visitor signs in and sees English pages with their styles and nothing inline."""
    key = visitor.host.manage("shell", "-c", visitor.host.kind.make_project).split()[-1]
    visitor.project = int(key) if key.isdigit() else key
    visitor.sign_in()
    training = f"projects/{visitor.project}/training/"
    for path in ("", "registry-health/", "operations/", training, f"{training}new-run/"):
        page = visitor.get(f"/ml/{path}").text
        if inline := INLINE.search(page):
            raise Failed(f"/ml/{path} has {inline[0]!r}")
        for style in re.findall(r'href="([^"]+\.css)"', page) or ["none"]:
            address = urljoin(visitor.host.url("/ml/"), style)
            good(visitor.browser.get(address, timeout=PATIENCE), 200)


def check_api(visitor: Visitor) -> None:
    """Models of somebody else's in Vertex AI are found and adopted: all counts agree."""
    visitor.token = visitor.host.manage("create_api_token", "ana").splitlines()[0]
    seed = {"model_id": "77", "display_name": "Ranker", "artifact_uri": "gs://my-artifacts/x"}
    good(requests.post(f"{visitor.host.cloud}/_localcloud/seed/model", json=seed, timeout=9), 200)
    visitor.done(visitor.ask("POST", "audit/run/"))
    for finding in visitor.ask("GET", "audit/?kind=unmanaged")["items"]:
        name = finding["evidence"]["display_name"].lower()
        given = {"action": "adopt", "project": visitor.project, "model_name": name}
        visitor.done(visitor.ask("POST", f"audit/findings/{finding['id']}/repair/", given))
    visitor.done(visitor.ask("POST", "audit/run/"))
    counts, count = visitor.ask("GET", "system/kpis/")["counts"], visitor.host.kind.models
    equal([counts[name] for name in ("database", "vertex", "agree")], [count, count, True])


def check_webhook(visitor: Visitor) -> None:
    """Cloud Scheduler rings, and the host sweeps."""
    before = visitor.ask("GET", "audit/")["sweep"]["id"]
    visitor.host.manage("setup_audit_scheduler")
    with grpc.insecure_channel(visitor.host.cloud_grpc) as channel:
        transport = CloudSchedulerClient.get_transport_class("grpc")(channel=channel)
        jobs = CloudSchedulerClient(transport=transport)
        parent = "projects/my-project/locations/europe-central2"
        jobs.run_job(name=f"{parent}/jobs/audit-registry")
        job = until(
            lambda: jobs.get_job(name=f"{parent}/jobs/audit-registry"),
            lambda job: bool(job.last_attempt_time),
        )
    equal(job.status.code, 0)
    until(lambda: visitor.ask("GET", "audit/")["sweep"]["id"], lambda newest: newest > before)


def check_admin(visitor: Visitor) -> None:
    """Every table of ours in the admin opens, also when searched."""
    index = visitor.get("/admin/").text
    for table in sorted(set(re.findall(r'"[^"]*(/admin/ml_platform/\w+/)"', index))):
        visitor.get(table)
        visitor.get(f"{table}?q=ranker")


def check_dump_and_load(visitor: Visitor) -> None:
    """The host's own tests pass, one of which loads all data into an empty database."""
    left_out = [f"--exclude={name}" for name in LEFT_OUT]
    visitor.host.manage("dumpdata", "--natural-foreign", "-o", "dump.json", *left_out)
    (visitor.host.folder / "test_dump.py").write_text(DUMP_TEST)
    said = visitor.host.manage("test")
    if "Ran 2 tests" not in said:
        raise Failed(said)


LEFT_OUT = ["contenttypes", "auth.permission", "sessions", "admin"]
"""What Django makes by itself in each database."""
DUMP_TEST = f"""
import json
from collections import Counter

from django.core.management import call_command
from django.test import TestCase


class DumpTests(TestCase):
    databases = "__all__"

    def test_the_dump_can_be_loaded(self):
        call_command("loaddata", "./dump.json", verbosity=0)
        call_command("dumpdata", natural_foreign=True, output="again.json",
            exclude={LEFT_OUT}, verbosity=0)
        rows, again = self.rows_of("dump.json"), self.rows_of("again.json")
        self.assertGreater(len(rows), 10)
        self.assertEqual(Counter(rows), Counter(again))

    def rows_of(self, name):
        # A dump cuts times to milliseconds, and writes none that are 0 the next time.
        rows = json.loads(open(name).read().replace(".000Z", "Z"))
        return [json.dumps(row, sort_keys=True) for row in rows]
"""

CHECKS: dict[str, Callable[[Visitor], None]] = {
    "check": check_settings,
    "makemigrations": check_migrations,
    "pages": check_pages,
    "API, worker": check_api,
    "webhook": check_webhook,
    "admin": check_admin,
    "tests, dump": check_dump_and_load,
}
