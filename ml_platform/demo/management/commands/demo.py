"""`manage.py demo`: the platform with example data, as a site or as a report in the terminal."""

from __future__ import annotations

import signal
import tempfile
from argparse import ArgumentTypeError
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any

from django.core.management.base import CommandParser

from ml_platform.demo import site, story, world
from ml_platform.errors import Invalid
from ml_platform.management.base import PlatformCommand
from ml_platform.management.report import make_console
from ml_platform.models.clock import database_now
from ml_platform.services.operations.store import Actor
from ml_platform.services.sweeps.sweep import sweep

FOLDER = Path(".demo")
ACTOR = Actor(label=world.USER, origin="command")


class Command(PlatformCommand):
    """Runs everything in one process, and ends it all."""

    help = "Run the platform on this machine, with a local cloud and the incident's data."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add our options."""
        parser.add_argument(
            "--port", type=_port, default=8000, help="of the site; 0 for a free one"
        )
        parser.add_argument(
            "--cloud-port",
            type=_port,
            help="of the local cloud, which takes the next one too (8790; with --once free ones)",
        )
        parser.add_argument("--scenario", choices=sorted(world.SCENARIOS), default="incident")
        parser.add_argument(
            "--once", action="store_true", help="show the incident in the terminal and end"
        )

    def work(self, **options: Any) -> int:
        """Serve until Ctrl-C, or show the incident once."""
        # Both end everything that was started. A shell makes its background jobs ignore SIGINT.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        if options["once"]:
            if options["scenario"] == "training":
                raise Invalid(
                    "Training cannot be shown in the terminal.",
                    advice="Leave out --once, and open the address that it prints.",
                )
            return self._tell(options["scenario"], options["cloud_port"] or 0)
        cloud_port = 8790 if options["cloud_port"] is None else options["cloud_port"]
        return self._serve(options["scenario"], options["port"], cloud_port)

    def _tell(self, scenario: str, cloud_port: int) -> int:
        with (
            tempfile.TemporaryDirectory(prefix="ml-platform-demo-") as folder,
            world.local_cloud(port=cloud_port) as cloud,
            world.database(Path(folder)),
        ):
            user, _ = world.make_user()
            world.SCENARIOS[scenario](cloud=cloud, user=user, now=database_now())
            return 0 if story.tell(console=make_console(self.stdout), actor=ACTOR) else 1

    def _serve(self, scenario: str, port: int, cloud_port: int) -> int:
        with ExitStack() as started:
            # Ports before the database: a second demo must not replace that of the first.
            server = started.enter_context(site.bound_server(port=port))
            cloud = started.enter_context(world.local_cloud(port=cloud_port))
            started.enter_context(world.database(FOLDER.resolve()))
            world.change_settings(PUBLIC_URL=f"http://{site.HOST}:{server.server_port}/")
            user, password = world.make_user()
            world.SCENARIOS[scenario](cloud=cloud, user=user, now=database_now())
            sweep(actor=ACTOR, clock=database_now)
            started.enter_context(site.working())
            started.enter_context(site.following(actor=ACTOR))
            url = started.enter_context(site.serving(server))
            self.stdout.write(f"Local cloud: gRPC {cloud.grpc_target}, console {cloud.http_url}/")
            self.stdout.write(f"Ready: {url} (user {world.USER}, password {password})")
            self.stdout.write("Ctrl-C ends it.")
            self.stdout.flush()
            with suppress(KeyboardInterrupt):
                Event().wait()
            return 0


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise ArgumentTypeError(f"{text!r} is not a port: 0 to 65535.")
    return int(text)
