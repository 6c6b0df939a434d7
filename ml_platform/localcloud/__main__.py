"""`python -m` runs the local cloud as a program."""

from __future__ import annotations

import argparse
import signal
import sqlite3
import sys
import threading
from pathlib import Path

from . import CloudError, LocalCloud, PortBusy, Unusable

_STARTED = """\
Local cloud of project {cloud.project} ({cloud.project_number}) in {cloud.location}.
  gRPC  {cloud.grpc_target}  Vertex AI, Cloud Run, Cloud Scheduler, Monitoring, operations
  HTTP  {cloud.http_url}  Cloud Storage, OIDC certificates, control API, console page at /

Point Google's clients at it, one by one:
  channel = grpc.insecure_channel("{cloud.grpc_target}")
  ModelServiceClient(transport=ModelServiceClient.get_transport_class("grpc")(channel=channel))

or all clients of a program at once, unchanged, the high-level SDK included:
{exports}

Ctrl-C ends it."""


def parser() -> argparse.ArgumentParser:
    """The options of the program."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}",
        description="The Google APIs a model registry needs, on this machine.",
    )
    add_options(parser)
    return parser


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the same options to another parser (manage.py has its own)."""
    parser.add_argument("--port", type=_port, default=8790, help="gRPC; 0 for a free port")
    parser.add_argument("--http-port", type=_port, help="default: the gRPC port + 1")
    parser.add_argument("--tls-port", type=_port, help="default: the gRPC port + 2")
    parser.add_argument("--project", default="demo-project")
    parser.add_argument("--location", default="europe-central2")
    parser.add_argument(
        "--more-projects", type=_projects, default={}, help="further ones: id=number,id=number"
    )
    parser.add_argument(
        "--more-locations", type=lambda text: text.split(","), default=[], help="us-central1,…"
    )
    parser.add_argument("--bucket", help="a bucket of Cloud Storage, made unless it is there")
    parser.add_argument("--state", type=Path, help="a file in which everything survives")
    parser.add_argument("--quotas", action="store_true", help="Vertex's 600 and 60 a minute")


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535.")
    return int(text)


def _projects(text: str) -> dict[str, int]:
    pairs = [item.partition("=") for item in text.split(",")]
    if not all(number.isdigit() for _, _, number in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not id=number,id=number.")
    return {project: int(number) for project, _, number in pairs}


def _cloud(options: argparse.Namespace) -> LocalCloud:
    beside = options.port + 1 if options.port else 0
    cloud = LocalCloud(
        project=options.project,
        location=options.location,
        projects=options.more_projects,
        locations=options.more_locations,
        grpc_port=options.port,
        http_port=beside if options.http_port is None else options.http_port,
        tls_port=(beside and beside + 1) if options.tls_port is None else options.tls_port,
        state=options.state,
        quotas=options.quotas,
    )
    if options.bucket:
        cloud.storage.make_bucket(options.bucket)
    return cloud


def serve(options: argparse.Namespace) -> int:
    """Run until Ctrl-C or SIGTERM; 2 when the options are invalid, 1 when a port or the state
    file cannot be had."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        cloud = _cloud(options).start()
    except (Unusable, CloudError) as wrong:
        print(wrong, file=sys.stderr)
        return 2
    except PortBusy as busy:
        print(busy, file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        print(f"Cannot use the state file {options.state}: {error}.", file=sys.stderr)
        return 1
    try:
        exports = "\n".join(f"  export {name}={v}" for name, v in cloud.environment.items())
        print(_STARTED.format(cloud=cloud, exports=exports), flush=True)
        ended.wait()
    finally:
        cloud.stop()
    return 0


def main(argv: list[str] | None = None) -> int:
    """The program; answers its exit code."""
    return serve(parser().parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
