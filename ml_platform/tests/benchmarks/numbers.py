"""The dashboard's numbers against the same numbers by SQL that somebody wrote for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

from django.db import connection

from ml_platform import kpis
from ml_platform.models import Project

from .ground import use_database
from .pairs import Figure, compare

GOAL = 1.1
DAYS = 90
Numbers: TypeAlias = dict[str, Any]


def dashboard_numbers(sizes: Sequence[int], database: str) -> Iterator[Figure]:
    """All numbers of the starting page at each size; both ways must tell the same.

    :raises RuntimeError: they do not.
    """
    for size in sizes:
        use_database(f"{database}-{size}")
        today = datetime.now(UTC).date()
        if (ours := _ours(today)) != (raw := _raw(today)):
            raise RuntimeError(f"{ours} is not {raw}")
        rounds = 30 if size < 500_000 else 5
        yield compare(
            f"numbers of the dashboard, {size:,} models",
            lambda today=today: _ours(today),  # type: ignore[misc]
            lambda today=today: _raw(today),  # type: ignore[misc]
            goal=GOAL,
            rounds=rounds,
            warm=1,
        )


SERVED = (
    "FROM ml_platform_registeredmodel m JOIN ml_platform_deployedendpoint e "
    "ON e.registered_model_id = m.id JOIN ml_platform_trainingrun r ON e.run_id = r.id "
    "WHERE e.is_active AND m.vertex_model_resource_name <> '' "
    "AND r.registration IN ('registered', 'deleting') AND NOT EXISTS "
    "(SELECT 1 FROM ml_platform_trainingrun n WHERE n.registered_model_id = m.id "
    "AND n.version > r.version AND n.registration = 'registered' AND n.is_blessed "
    "AND n.status IN ('completed', 'deploying', 'deployed', 'deploy_failed', 'not_blessed'))"
)
"""The models whose newest deployable version is served."""


UNLISTED = {
    vendor: (
        "SELECT count(*) FILTER (WHERE NOT young), count(*) FILTER (WHERE young) FROM (SELECT "
        "m.registry_state = 'suspected' OR m.latest_registered_at > (SELECT finished_at "
        "FROM ml_platform_sweep ORDER BY id DESC LIMIT 1) AS young "
        "FROM ml_platform_registeredmodel m WHERE m.vertex_model_resource_name <> '' "
        "AND NOT EXISTS (SELECT 1 FROM ml_platform_mirroredmodel v WHERE v.model_id = "
        f"substr(m.vertex_model_resource_name, {find}(m.vertex_model_resource_name, '/models/') "
        "+ 8))) AS unlisted"
    )
    for vendor, find in (("sqlite", "instr"), ("postgresql", "strpos"))
}
"""The models that the last reading of Vertex AI did not list, and those among them that it may
not have listed yet."""


def _ours(today: date) -> Numbers:
    four, assets = kpis.four_counts(), kpis.assets()
    cards = kpis.project_cards(Project.objects.order_by("pk"))
    history = kpis.history(today=today, days=DAYS)
    return {
        "four": (four.database, four.projects, four.registry_page, four.vertex),
        "unlisted": (four.points_at_nothing, four.not_seen_yet),
        "assets": (assets.models, assets.versions, assets.deployed, assets.endpoints_active),
        "runs": (assets.runs, assets.runs_live, assets.schedules_live),
        "cards": [
            (
                *(c.project_id, c.models, c.versions, c.deployed, c.runs, c.runs_live),
                *(c.endpoints_active, c.endpoints_total, c.latest_registered_at is not None),
            )
            for c in cards
        ],
        "history": [(point.models, point.versions) for point in history],
        "findings": sum(kpis.open_findings().values()),
    }


def _raw(today: date) -> Numbers:
    """Each number by the statement that asks for it and nothing else."""
    first = today - timedelta(days=DAYS - 1)
    registered = "FROM ml_platform_registeredmodel WHERE vertex_model_resource_name <> ''"
    cards = _all(
        "SELECT project_id, count(*), sum(total_versions), max(latest_registered_at) "
        f"{registered} GROUP BY project_id"
    )
    served = dict(_all(f"SELECT m.project_id, count(DISTINCT m.id) {SERVED} GROUP BY m.project_id"))
    runs = dict(
        _all("SELECT project_id, count(*) FROM ml_platform_trainingrun GROUP BY project_id")
    )
    training = "('pending', 'scheduled', 'submitting', 'running')"
    live = dict(
        _all(
            "SELECT project_id, count(*) FROM ml_platform_trainingrun "
            f"WHERE status IN {training} GROUP BY project_id"
        )
    )
    endpoints = {
        pk: (active, total)
        for pk, active, total in _all(
            "SELECT project_id, count(*) FILTER (WHERE is_active), count(*) "
            "FROM ml_platform_deployedendpoint GROUP BY project_id"
        )
    }
    database = _one(f"SELECT count(*) {registered}")
    return {
        "four": (
            database,
            sum(card[1] for card in cards),
            _one(f"SELECT count(*) {registered} AND latest_run_id IS NOT NULL"),
            _one("SELECT count(*) FROM ml_platform_mirroredmodel"),
        ),
        "unlisted": _all(UNLISTED[connection.vendor])[0],
        "assets": (
            database,
            _one(f"SELECT sum(total_versions) {registered}"),
            _one(f"SELECT count(DISTINCT m.id) {SERVED}"),
            _one("SELECT count(*) FROM ml_platform_deployedendpoint WHERE is_active"),
        ),
        "runs": (
            _one("SELECT count(*) FROM ml_platform_trainingrun"),
            _one(f"SELECT count(*) FROM ml_platform_trainingrun WHERE status IN {training}"),
            _one(
                "SELECT count(*) FROM ml_platform_trainingschedule "
                "WHERE state IN ('active', 'paused')"
            ),
        ),
        "cards": [
            (
                *(pk, models, versions, served.get(pk, 0), runs.get(pk, 0), live.get(pk, 0)),
                *endpoints.get(pk, (0, 0)),
                latest is not None,
            )
            for pk, models, versions, latest in sorted(cards)
        ],
        "history": _history(first),
        "findings": _one("SELECT count(*) FROM ml_platform_finding WHERE status = 'open'"),
    }


def _history(first: date) -> list[tuple[int, int]]:
    """By day; what is older is today's number without them."""
    day = "(v.registered_at AT TIME ZONE 'UTC')::date"
    if connection.vendor == "sqlite":
        day = "date(v.registered_at)"
    is_version = "registration IN ('registered', 'deleting')"
    recent = f"FROM ml_platform_trainingrun v WHERE v.registered_at >= '{first}' AND v.{is_version}"
    is_first = f"""NOT EXISTS (SELECT 1 FROM ml_platform_trainingrun e
        WHERE e.registered_model_id = v.registered_model_id AND e.version < v.version
        AND e.{is_version})"""
    ((models, versions),) = _all(
        "SELECT count(*), sum(total_versions) FROM ml_platform_registeredmodel "
        "WHERE vertex_model_resource_name <> ''"
    )
    columns = []
    for total, only in ((models, f"AND {is_first}"), (versions, "")):
        by_day = {
            date.fromisoformat(str(when)): count
            for when, count in _all(f"SELECT {day}, count(*) {recent} {only} GROUP BY 1")
        }
        so_far, points = total - sum(by_day.values()), []
        for offset in range(DAYS):
            so_far += by_day.get(first + timedelta(days=offset), 0)
            points.append(so_far)
        columns.append(points)
    return list(zip(*columns, strict=True))


def _all(statement: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _one(statement: str) -> Any:
    return _all(statement)[0][0]
