"""A pytest fixture: a local cloud to which all of Google's clients in the tests connect.

`pip install` of the package of its own registers it. Inside another package it is switched on with
`pytest_plugins = ["<package>.pytest_plugin"]` in the root conftest.py.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import LocalCloud

ROOTS = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"


@pytest.fixture(scope="session")
def localcloud_process() -> Iterator[LocalCloud]:
    """The one local cloud of the run, with the environment of the process pointed at it.

    gRPC reads the path of the trusted certificates once, so no gRPC call may come before it.
    """
    with tempfile.TemporaryDirectory(prefix="localcloud-") as directory:
        roots = Path(directory) / "ca.pem"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ROOTS, str(roots))
            with LocalCloud(tls_port=0) as cloud:
                roots.write_bytes(cloud.tls_ca_file.read_bytes())
                for name, value in cloud.environment.items():
                    if name != ROOTS:
                        patch.setenv(name, value)
                yield cloud


@pytest.fixture
def localcloud(localcloud_process: LocalCloud) -> LocalCloud:
    """That local cloud, as new: what an earlier test left is gone."""
    localcloud_process.reset()
    return localcloud_process
