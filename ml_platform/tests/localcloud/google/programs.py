"""Programs of the high-level SDK in a process of their own: they read their environment once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from ml_platform.localcloud import LocalCloud

HEAD = """
import json
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform

aiplatform.init(
    project="demo-project", location="us-central1", credentials=AnonymousCredentials()
)
told = {}
"""
"""Without the metadata server's credentials, whose boundary google-auth asks the internet for.

What a script has put into `told` at its end is what it tells."""


def tell(cloud: LocalCloud, script: str, **more: str) -> Any:
    """What a script told, with `more` in its environment.

    :raises AssertionError: it failed.
    """
    environment = {
        "STORAGE_EMULATOR_HOST": cloud.http_url,
        "grpc_proxy": cloud.http_url,
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(cloud.tls_ca_file),
    }
    ended = subprocess.run(
        [sys.executable, "-c", f"{HEAD}{script}\nprint(json.dumps(told, default=list))"],
        env={**os.environ, **environment, **more},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])
