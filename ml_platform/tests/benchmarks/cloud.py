"""A local cloud of many models in a process of its own, as Google is in one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SWEPT = 2000
"""Models of the cloud that is swept."""
BUCKET = "demo-artifacts"
TEMPLATE = "templates/train.json"
PIPELINE = {"pipelineInfo": {"name": "train"}, "schemaVersion": "2.1.0", "root": {"dag": {}}}


@contextmanager
def cloud_of(models: int) -> Iterator[dict[str, str]]:
    """Run one with so many models and their artifacts; yields the settings that point at it."""
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, str(models)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        grpc, http = process.stdout.readline().split()
        yield {"ML_PLATFORM_LOCAL_CLOUD": grpc, "ML_PLATFORM_LOCAL_CLOUD_HTTP": http}
    finally:
        process.stdin.close()
        process.wait(timeout=30)


def main(models: int) -> None:
    """Serve until standard input ends."""
    from ml_platform.localcloud import LocalCloud  # the other side needs none of it

    with LocalCloud(project="demo-project", location="europe-central2") as cloud:
        cloud.storage.write(BUCKET, "runs/nothing", b"")
        cloud.storage.write(BUCKET, TEMPLATE, json.dumps(PIPELINE).encode())
        for number in range(1, models + 1):
            folder = f"runs/{number}/pushed_model"
            # Every fourth has two versions, as in the database.
            runs = [number, *([number + models] if number % 4 == 0 else [])]
            cloud.storage.write(BUCKET, f"{folder}/1/saved_model.pb", b"model")
            cloud.models.seed(
                f"mr-{number}-1",
                display_name=f"model-{number}",
                versions=[_version(*run) for run in enumerate(runs, 1)],
                artifact_uri=f"gs://{BUCKET}/{folder}",
            )
        print(cloud.grpc_target, cloud.http_url, flush=True)
        sys.stdin.read()


def _version(number: int, run: int) -> dict[str, Any]:
    return {"version": number, "labels": {"mlp_owner": "tests", "mlp_run": f"{run:032x}"}}


if __name__ == "__main__":
    main(int(sys.argv[1]))
