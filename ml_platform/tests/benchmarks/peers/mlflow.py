"""MLflow: an environment that holds it, its tables with our models in them, and its server."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import venv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from django.db import connection

from ml_platform.tests.benchmarks.ground import settle
from ml_platform.tests.benchmarks.servers import HOST, Process, running
from ml_platform.tests.postgres import postgres_host

REQUIREMENTS = ("mlflow>=3.17.2,<3.19", "psycopg2-binary>=2.9,<3")
"""The newest of these that the package index has whole."""
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # The server would start processes for evaluations, which a registry does not need.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
ROLE = SCHEMA = "mlflow"
"""Who MLflow is in PostgreSQL, and where its tables lie, beside ours, which it does not see."""


def environment() -> Path:
    """The programs of an environment with MLflow, which is made once for a user."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = cache / "django-ml-platform" / "mlflow"
    made, wanted = home / "made", "\n".join(REQUIREMENTS)
    if not made.exists() or made.read_text() != wanted:
        print(f"Making an environment with {REQUIREMENTS[0]} in {home} ...", flush=True)
        venv.create(home, clear=True, with_pip=True)
        install = (home / "bin" / "python", "-m", "pip", "install", "--quiet", *REQUIREMENTS)
        subprocess.run(install, check=True)
        made.write_text(wanted)
    return home / "bin"


def version(programs: Path) -> str:
    code = "from importlib.metadata import version; print(version('mlflow'))"
    asked = [str(programs / "python"), "-c", code]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def make_tables(programs: Path, folder: Path) -> str:
    """Have MLflow make its tables, and put the models of our database into them.

    Returns the address of the database, as `mlflow server` takes it.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE])
            if not cursor.fetchall():
                cursor.execute(f"CREATE ROLE {ROLE} LOGIN")
                cursor.execute(f"ALTER ROLE {ROLE} SET search_path = {SCHEMA}")
            cursor.execute(f"CREATE SCHEMA {SCHEMA} AUTHORIZATION {ROLE}")
        name = connection.settings_dict["NAME"]
        address = f"postgresql+psycopg2://{ROLE}@/{name}?host={postgres_host()}"
        _upgrade(programs, address)
        with connection.cursor() as cursor:
            for statement in _copies(ours="public.", theirs=f"{SCHEMA}."):
                cursor.execute(statement)
        settle()
        return address
    file = folder / "mlflow.sqlite3"
    _upgrade(programs, f"sqlite:///{file}")
    with closing(sqlite3.connect(file, isolation_level=None)) as theirs:
        theirs.execute("ATTACH ? AS ours", [connection.settings_dict["NAME"]])
        theirs.execute("BEGIN")
        for statement in _copies(ours="ours.", theirs="main."):
            theirs.execute(statement)
        theirs.execute("COMMIT")
        theirs.execute("ANALYZE main")
    return f"sqlite:///{file}"


@contextmanager
def serving(programs: Path, address: str, port: int, folder: Path) -> Iterator[Process]:
    """MLflow's own server with one worker, as its documentation starts it."""
    command = [str(programs / "mlflow"), "server", "--backend-store-uri", address]
    where = ["--host", HOST, "--port", str(port), "--workers", "1"]
    artifacts = ["--artifacts-destination", str(folder / "mlartifacts")]
    with running([*command, *where, *artifacts], QUIET, folder / "mlflow.log") as process:
        yield process


def _upgrade(programs: Path, address: str) -> None:
    command = [str(programs / "mlflow"), "db", "upgrade", address]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **QUIET})
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])


def _copies(*, ours: str, theirs: str) -> list[str]:
    """Our models as theirs: versions, metrics as tags of the version, type and project as tags of
    the model, an alias on the newest version."""
    milliseconds = "1000 * CAST(strftime('%s', {}) AS INTEGER)"
    if connection.vendor == "postgresql":
        milliseconds = "CAST(1000 * extract(epoch FROM {}) AS BIGINT)"
    models = f"FROM {ours}ml_platform_registeredmodel m"
    runs = f"FROM {ours}ml_platform_trainingrun r WHERE r.registration = 'registered'"
    created, registered = milliseconds.format("created_at"), milliseconds.format("registered_at")
    return [
        f"INSERT INTO {theirs}registered_models (workspace, name, creation_time, "
        f"last_updated_time, description) SELECT 'default', model_name, {created}, {created}, '' "
        f"{models}",
        f"INSERT INTO {theirs}model_versions (workspace, name, version, creation_time, "
        "last_updated_time, description, current_stage, source, storage_location, run_id, status) "
        f"SELECT 'default', model_name, version, {registered}, {registered}, '', 'None', "
        "gcs_artifacts_path, gcs_artifacts_path, replace(CAST(uid AS TEXT), '-', ''), 'READY' "
        f"{runs}",
        *(
            f"INSERT INTO {theirs}registered_model_tags (workspace, name, key, value) "
            f"SELECT 'default', model_name, '{key}', CAST({column} AS TEXT) {models}"
            for key, column in (("type", "model_type"), ("project", "project_id"))
        ),
        *(
            f"INSERT INTO {theirs}model_version_tags (workspace, name, version, key, value) "
            f"SELECT 'default', model_name, version, '{key}', metrics ->> '{key}' {runs}"
            for key in ("auc", "recall_at_100")
        ),
        f"INSERT INTO {theirs}registered_model_aliases (workspace, name, alias, version) "
        f"SELECT 'default', m.model_name, 'default', r.version {models} "
        f"JOIN {ours}ml_platform_trainingrun r ON r.id = m.latest_run_id",
    ]
