"""Plays the release before and this one on one PostgreSQL database and one local cloud.

`python -m ml_platform.tests.releases [commit]` needs the history of the repository.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ml_platform.tests.postgres import USER, postgres_host

ONE_HOUSE = "0273f48"
"""The release from which on two may run side by side: the end of the issue *One house*."""
DATABASE = "two_releases"


@contextmanager
def environment() -> Iterator[None]:
    """An empty database and the settings of both releases."""
    import psycopg

    with psycopg.connect(host=postgres_host(), user=USER, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        connection.execute(f"CREATE DATABASE {DATABASE}")
    os.environ.update(
        DJANGO_SETTINGS_MODULE="release_settings",
        ML_PLATFORM_TEST_DB="postgresql",
        ML_PLATFORM_TEST_DB_NAME=DATABASE,
    )
    yield


def say(words: str) -> None:
    """A line of progress."""
    print(words, flush=True)  # noqa: T201 - a program


def main(commit: str = ONE_HOUSE) -> int:
    """Play it; returns 0 if all ended well."""
    from .processes import ROOT, Release, unpack

    with ExitStack() as stack:
        stack.enter_context(environment())
        sys.path.insert(0, str(Path(__file__).parent))
        import django

        django.setup()
        from ml_platform.localcloud import LocalCloud
        from ml_platform.tests.services.training_tools import BUCKET, SPEC, TEMPLATE_URI

        from .play import play

        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mlp-release-"))
        cloud = stack.enter_context(LocalCloud(project="demo-project", location="europe-central2"))
        cloud.storage.write(BUCKET, TEMPLATE_URI.split("/", 3)[3], json.dumps(SPEC).encode())
        cloud.pipelines.stage_seconds = 10
        addresses = {
            "ML_PLATFORM_LOCAL_CLOUD": cloud.grpc_target,
            "ML_PLATFORM_LOCAL_CLOUD_HTTP": cloud.http_url,
        }
        code = {"old": unpack(commit, Path(folder)), "new": ROOT}
        started: list[Release] = []

        def start(name: str) -> Release:
            started.append(Release(name, code[name], addresses))
            return started[-1]

        try:
            play(cloud, start, say)
        finally:
            for one in started:
                one.end()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
