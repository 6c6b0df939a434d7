"""Databases of many models, made by a few statements, and the one that the next question meets."""

from __future__ import annotations

import time
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction

from ml_platform.models.counting.install import recount

PROJECTS = 10
DEPLOYED_AT_MOST = 1000
"""Services that Cloud Run lets one project have in one region (Cloud Run, quotas)."""
SEARCHED = "canary"
"""A word in the names of exactly a hundred models, however many there are."""
DAYS = 700
"""Over which the models were registered, until yesterday."""
BEGAN = int(time.time()) - (DAYS + 1) * 86_400


def open_database(name: str) -> None:
    """Make a database of that name, migrated and empty, and have Django use it."""
    base = connections.settings[DEFAULT_DB_ALIAS]
    if connection.vendor == "postgresql":
        with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}"')
        place = name
    else:
        place = str(Path(base["NAME"]).with_name(f"{name}.sqlite3"))
        Path(place).parent.mkdir(parents=True, exist_ok=True)
    connections.settings[name] = {**base, "NAME": place, "CONN_MAX_AGE": None}
    use_database(name)
    call_command("migrate", database=name, verbosity=0)


def use_database(name: str) -> None:
    """Have Django's default connection be that one from now on."""
    connections[DEFAULT_DB_ALIAS] = connections[name]


def fill(models: int) -> float:
    """Put so many registered models with versions into the database; returns the seconds."""
    started = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Rows that are right by construction: their foreign keys need no look each.
            cursor.execute("SET LOCAL session_replication_role = replica")
        tables = apps.get_app_config("ml_platform").get_models()
        reset = connection.ops.sequence_reset_sql(no_style(), list(tables))
        for statement in (*_statements(models), *reset):
            cursor.execute(statement)
        recount(DEFAULT_DB_ALIAS)  # triggers do not run for a replica
    settle()
    return time.perf_counter() - started


def settle() -> None:
    """Let the database know its own size, as one in use does."""
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def series(count: int) -> str:
    """The numbers from 1 to `count` as a table `n(i)`, to select from."""
    if connection.vendor == "postgresql":
        return f"generate_series(1, {count}) AS n(i)"
    return (
        f"(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) "
        "SELECT i FROM n) AS n"
    )


def uid(number: str) -> str:
    """A UUID made of a number."""
    if connection.vendor == "postgresql":
        return f"lpad(to_hex({number}), 32, '0')::uuid"
    return f"printf('%032x', {number})"


def moment(seconds: str) -> str:
    """A time so many seconds after the first model was registered."""
    if connection.vendor == "postgresql":
        return f"to_timestamp({BEGAN} + ({seconds}))"
    return f"strftime('%Y-%m-%d %H:%M:%S', {BEGAN} + ({seconds}), 'unixepoch')"


def _statements(models: int) -> list[str]:
    registered = moment(f"i * {DAYS * 86400 // models}")
    second = f"(CASE WHEN i % 4 = 0 THEN {models} ELSE 0 END)"
    more = "(CASE WHEN i % 4 = 0 THEN 1 ELSE 0 END)"
    rare = f"(CASE WHEN i % {models // 100} = 0 THEN '-{SEARCHED}' ELSE '' END)"
    name = f"'model-' || i || '-of-team-' || (i % 97) || {rare}"
    kind = "(CASE i % 3 WHEN 0 THEN 'ranking' WHEN 1 THEN 'retrieval' ELSE 'hybrid' END)"
    vertex = "'projects/123456789012/locations/europe-central2/models/mr-' || i || '-1'"
    projects = f"""
        INSERT INTO ml_platform_project (id, name, description, created_at)
        SELECT i, 'project-' || i, '', {moment("i")} FROM {series(PROJECTS)}"""
    lineages = f"""
        INSERT INTO ml_platform_registeredmodel (id, uid, project_id, model_name, model_type,
            description, generation, next_version, vertex_model_resource_name, total_versions,
            latest_run_id, latest_registered_at, registry_state, registry_checked_at, created_at,
            updated_at)
        SELECT i, {uid("i")}, 1 + i % {PROJECTS}, {name}, {kind}, '', 1, 2 + {more}, {vertex},
            1 + {more}, i + {second}, {registered}, 'verified', {moment("0")}, {registered},
            {registered}
        FROM {series(models)}"""
    mirror = f"""
        INSERT INTO ml_platform_mirroredmodel (id, model_id, resource_name, display_name, version,
            artifact_uri, labels, owner, run_uid, remote_created_at, remote_updated_at,
            seen_sweep_id, seen_at)
        SELECT i, 'mr-' || i || '-1', {vertex}, {name}, '1', '', '{{}}', 'tests', '',
            {registered}, {registered}, 1, {registered}
        FROM {series(models)}"""
    runs = [
        _runs(f"i + {models * (number - 1)}", number, name, kind, vertex, registered, count)
        for number, count in ((1, models), (2, models))
    ]
    return [projects, lineages, *runs, _SWEEP.format(at=moment("0")), mirror, _endpoints(models)]


def _runs(
    pk: str, number: int, name: str, kind: str, vertex: str, registered: str, count: int
) -> str:
    which = "" if number == 1 else "WHERE i % 4 = 0"
    return f"""
        INSERT INTO ml_platform_trainingrun (id, uid, project_id, model_name, model_type,
            registered_model_id, status, stage, progress, error, template_uri, parameters,
            pipeline_job_name, gcs_artifacts_path, metrics, is_blessed, registration, version,
            vertex_model_resource_name, vertex_model_name, vertex_model_version, registered_at,
            aliases, former_vertex_version, created_at, submitted_at, finished_at, updated_at)
        SELECT {pk}, {uid(pk)}, 1 + i % {PROJECTS}, {name}, {kind}, i, 'completed', '', 100, '',
            'gs://demo-artifacts/templates/train.json', '{{"epochs": 10}}', 'training-run-' || i,
            'gs://demo-artifacts/runs/' || i || '/', '{{"recall_at_100": 0.4131, "auc": 0.8712}}',
            true, 'registered', {number}, {vertex}, {name}, '{number}', {registered},
            '["default"]', '', {registered}, {registered}, {registered}, {registered}
        FROM {series(count)} {which}"""


_SWEEP = """
    INSERT INTO ml_platform_sweep (id, status, actor_label, planes, counts, started_at, finished_at)
    SELECT 1, 'complete', 'benchmark', '{{"vertex": {{"read": true}}}}', '{{}}', {at}, {at}"""


def _endpoints(models: int) -> str:
    deployed = min(models // 10, DEPLOYED_AT_MOST)
    at = f"(i * {models // deployed})"
    return f"""
        INSERT INTO ml_platform_deployedendpoint (id, uid, project_id, registered_model_id,
            service_name, state, is_active, model_deleted, run_id, url, revision, config,
            previous_config, error, deployed_at, created_at, updated_at)
        SELECT i, {uid("i")}, 1 + {at} % {PROJECTS}, {at}, 'service-' || i, 'active', true, false,
            {at}, 'https://service-' || i || '.a.run.app', '', '{{}}', '{{}}', '',
            {moment("0")}, {moment("0")}, {moment("0")}
        FROM {series(deployed)}"""


def vendor() -> str:
    """Which database this is, with its version."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SHOW server_version"
            if connection.vendor == "postgresql"
            else "SELECT sqlite_version()"
        )
        return f"{connection.display_name} {cursor.fetchone()[0]}"


def settings_for_benchmarks() -> None:
    """The demo host, with the bare views that its own are held against beside it."""
    settings.ROOT_URLCONF = "ml_platform.tests.benchmarks.urls"
