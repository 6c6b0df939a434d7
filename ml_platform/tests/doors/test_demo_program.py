"""The demo as a real process: it gets ready, serves, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

import pytest

from ml_platform.localcloud import LocalCloud

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
READY = re.compile(r"^Ready: (http://127\.0\.0\.1:(\d+)/) \(user demo, password (\S+)\)$", re.M)
CLOUD = re.compile(
    r"^Local cloud: gRPC 127\.0\.0\.1:(\d+), console http://127\.0\.0\.1:(\d+)/$", re.M
)
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')
FREE = ("--port", "0", "--cloud-port", "0")


def environment(**changes: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("ML_PLATFORM_")}
    return {**inherited, "DJANGO_SETTINGS_MODULE": "ml_platform.demo.settings", **changes}


def run(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "manage.py", *arguments],
        cwd=folder,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=100,
    )


class Demo:
    """A demo that is ready."""

    def __init__(self, process: subprocess.Popen[str], output: str) -> None:
        ready, cloud = READY.search(output), CLOUD.search(output)
        assert ready, output
        assert cloud, output
        self.process = process
        self.url, self.password = ready[1], ready[3]
        self.cloud_port = int(cloud[1])
        self.ports = [int(ready[2]), self.cloud_port, int(cloud[2])]

    def end(self, number: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors

    def children(self) -> str:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return "".join(path.read_text() for path in tasks)

    def logged_in(self) -> OpenerDirector:
        opener = build_opener(HTTPCookieProcessor(CookieJar()))
        token = TOKEN.search(opener.open(f"{self.url}login/").read().decode())
        assert token
        form = {
            "username": "demo",
            "password": self.password,
            "csrfmiddlewaretoken": token[1],
        }
        assert opener.open(f"{self.url}login/", urlencode(form).encode()).url == self.url
        return opener


@contextmanager
def demo(folder: Path, *arguments: str) -> Iterator[Demo]:
    process = subprocess.Popen(
        [sys.executable, ROOT / "manage.py", "demo", *(arguments or FREE)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ready:"):
                break
        yield Demo(process, "".join(lines))
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.timeout(300)  # three demos one after the other
def test_it_serves_the_incident_and_a_signal_leaves_nothing_running(tmp_path):
    """One demo for all that a first user does, and another in its folder: a start is dear."""
    with demo(tmp_path) as running:
        serves_the_incident(running)
        a_second_terminal_works_on_the_same_world(running, tmp_path)
        a_second_demo_is_refused_and_spares_the_first(running, tmp_path)
        leaves_nothing_running(running, signal.SIGINT)
    with demo(tmp_path, *FREE, "--scenario", "empty") as anew:
        page = anew.logged_in().open(anew.url).read().decode()
        assert "my-first-project" in page
        assert "chern_rank_v1" not in page
        leaves_nothing_running(anew, signal.SIGTERM)


def serves_the_incident(running: Demo) -> None:
    opener = running.logged_in()
    page = opener.open(running.url).read().decode()
    assert "They differ" in page
    assert "1 points at nothing" in page
    style = opener.open(f"{running.url}static/ml_platform/css/ml_platform.css")
    assert style.headers["Content-Type"] == "text/css"
    assert running.children() == ""
    assert [port for port in running.ports if is_free(port)] == []


def leaves_nothing_running(running: Demo, number: signal.Signals) -> None:
    assert running.end(number) == (0, "")
    assert [port for port in running.ports if not is_free(port)] == []


def a_second_terminal_works_on_the_same_world(running: Demo, folder: Path) -> None:
    where = {
        "ML_PLATFORM_LOCAL_CLOUD": f"127.0.0.1:{running.cloud_port}",
        "ML_PLATFORM_LOCAL_CLOUD_HTTP": f"http://127.0.0.1:{running.ports[2]}",
    }
    audit = run(folder, "audit_registry", **where)
    assert (audit.returncode, audit.stderr) == (1, "")
    assert "trd-test-20260129-123106" in audit.stdout


def a_second_demo_is_refused_and_spares_the_first(running: Demo, folder: Path) -> None:
    second = run(folder, "demo", *FREE)
    assert second.returncode == 1
    assert "Another demo runs in" in second.stderr
    assert "They differ" in running.logged_in().open(running.url).read().decode()


def test_a_busy_port_is_one_sentence_and_starts_nothing(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        busy = run(tmp_path, "demo", "--port", str(port), "--cloud-port", "0")
    assert busy.returncode == 1
    assert busy.stdout == ""
    assert busy.stderr == (
        f"CommandError: Cannot listen on 127.0.0.1:{port}: Address already in use. "
        "Choose another with --port.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_busy_cloud_port_is_one_sentence_and_starts_nothing(tmp_path):
    with LocalCloud() as cloud:
        busy = run(tmp_path, "demo", "--port", "0", "--cloud-port", str(cloud.grpc_port))
    assert busy.returncode == 1
    assert busy.stdout == ""
    assert busy.stderr == (
        f"CommandError: Cannot listen on 127.0.0.1:{cloud.grpc_port}: Address already in use. "
        "Choose others with --cloud-port.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_cloud_port_with_none_after_it_is_one_sentence_and_starts_nothing(tmp_path):
    last = run(tmp_path, "demo", "--port", "0", "--cloud-port", "65535")
    assert last.returncode == 1
    assert last.stdout == ""
    assert last.stderr == (
        "CommandError: 65536 is not a port for HTTP: the highest is 65535. "
        "Choose others with --cloud-port.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_once_tells_the_story_in_plain_text_and_leaves_no_file(tmp_path):
    told = run(tmp_path, "demo", "--once", TMPDIR=str(tmp_path))
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.index("8 8 8 9, they differ") < told.stdout.index("7 7 7 7, they agree")
    assert "\x1b" not in told.stdout
    assert list(tmp_path.iterdir()) == []


MISSING = ({"ML_PLATFORM_PROJECT_ID": ""}, "ML_PLATFORM has no PROJECT_ID.")


@pytest.mark.parametrize(
    ("command", "changes", "says"),
    [
        (("demo", *FREE), *MISSING),
        (("audit_registry",), *MISSING),
        (("resume_operations",), *MISSING),
        (("demo", "--once"), {"ML_PLATFORM_LOCATION": "mars"}, "ML_PLATFORM['LOCATION'] is 'mars'"),
        (("demo", "--once"), {"ML_PLATFORM_BUCKET": "gs://b"}, "ML_PLATFORM['BUCKET'] is 'gs://b'"),
    ],
)
def test_wrong_settings_are_one_sentence_from_every_command(tmp_path, command, changes, says):
    answer = run(tmp_path, *command, **changes)
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith(f"CommandError: {says}")
    assert answer.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_none_is_said_in_the_usage(tmp_path):
    answer = run(tmp_path, "demo", "--port", "99999")
    assert answer.returncode == 2
    assert "'99999' is not a port: 0 to 65535." in answer.stderr


def test_an_interrupt_while_a_command_starts_is_one_word(tmp_path):
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt")
    answer = run(tmp_path, "demo", DJANGO_SETTINGS_MODULE="interrupted", PYTHONPATH=str(tmp_path))
    assert (answer.returncode, answer.stdout, answer.stderr) == (130, "", "Interrupted.\n")


def test_the_local_cloud_as_a_command_serves_the_configured_project(tmp_path):
    process = subprocess.Popen(
        [sys.executable, ROOT / "manage.py", "localcloud", "--port", "0"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert first.startswith("Local cloud of project b2b-recs (")
    assert process.returncode == 0
