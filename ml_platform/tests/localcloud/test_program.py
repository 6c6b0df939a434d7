"""`python -m ml_platform.localcloud`, and programs that reach it unchanged."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.__main__ import main

PROGRAM = [sys.executable, "-m", "ml_platform.localcloud"]
SCRIPT = """
import json, sys
from google.cloud import aiplatform

aiplatform.init(project="demo-project", location="europe-central2")
image = "europe-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
first = aiplatform.Model.upload(
    display_name="ranker", model_id="ranker", serving_container_image_uri=image
)
aiplatform.Model.upload(
    display_name="ranker", parent_model=first.resource_name, is_default_version=False,
    version_aliases=["golden"], serving_container_image_uri=image,
)
registry = aiplatform.models.ModelRegistry("ranker")
registry.add_version_aliases(["champion"], "2")
versions = {v.version_id: sorted(v.version_aliases) for v in registry.list_versions()}
registry.delete_version("2")
job = aiplatform.PipelineJob(
    display_name="train", template_path=sys.argv[1], pipeline_root="gs://artifacts/runs/1"
)
job.submit()
job.wait()
print(json.dumps({
    "versions": versions,
    "left": [v.version_id for v in registry.list_versions()],
    "models": [m.resource_name for m in aiplatform.Model.list(filter='display_name="ranker"')],
    "job": job.state.name,
}))
"""
TEMPLATE = {
    "pipelineInfo": {"name": "train"},
    "root": {"dag": {"tasks": {"train": {"taskInfo": {"name": "train"}}}}},
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.7.0",
    "components": {},
    "deploymentSpec": {},
}


@pytest.fixture
def told() -> Iterator[str]:
    """What the running program says about itself; at the end it is interrupted, as by Ctrl-C."""
    with subprocess.Popen([*PROGRAM, "--port", "0"], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        lines = list(iter(program.stdout.readline, "Ctrl-C ends it.\n"))
        try:
            yield "".join(lines)
        finally:
            program.send_signal(signal.SIGINT)
            assert program.wait(20) == 0


@pytest.fixture
def handlers() -> Iterator[None]:
    """The signal handlers of the tests' own process, put back after the program has set its own."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_the_high_level_sdk_reaches_it_unchanged_by_the_environment_it_prints(
    told: str, tmp_path: Path
) -> None:
    exports = re.findall(r"(\w+)=(\S+)", "\n".join(re.findall(r"export (.*)", told)))
    assert len(exports) == 6
    template = tmp_path / "train.json"
    template.write_text(json.dumps(TEMPLATE))
    script = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(template)],
        env={**os.environ, **dict(exports)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert script.returncode == 0, script.stderr
    assert "Error when trying to get or create a GCS bucket" not in script.stderr
    assert json.loads(script.stdout.splitlines()[-1]) == {
        "versions": {"1": ["default"], "2": ["champion", "golden"]},
        "left": ["1"],
        "models": ["projects/123456789012/locations/europe-central2/models/ranker"],
        "job": "PIPELINE_STATE_SUCCEEDED",
    }


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port", "70000"], "'70000' is not a port"),
        (["--port", "65535"], "65536 is not a port for HTTP: the highest is 65535."),
        (["--port", "65534"], "65536 is not a port for TLS: the highest is 65535."),
        (["--port", "0", "--project", "No Such"], "'No Such' is not a project id"),
        (["--port", "0", "--location", "mars"], "'mars' is not a location"),
        (["--port", "0", "--state", "/no/such/directory/state"], "Cannot use the state file"),
    ],
)
def test_bad_options_end_in_one_clear_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], handlers: None
) -> None:
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(arguments))
    errors = capsys.readouterr().err
    assert ended.value.code != 0
    assert says in errors
    assert "Traceback" not in errors


def test_a_busy_port_ends_it_with_one_clear_sentence(local_cloud: LocalCloud) -> None:
    port = str(local_cloud.grpc_port)
    ended = subprocess.run(
        [*PROGRAM, "--port", port], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert f"127.0.0.1:{port}" in ended.stderr
