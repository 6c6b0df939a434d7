"""What the app needs of its host: keys, times, database, tasks, sign-in, addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import router
from django.db.models import CharField, IntegerField, UUIDField
from django.urls import NoReverseMatch, Resolver404, resolve, reverse
from django.utils.module_loading import import_string

from ml_platform.conf import PROJECT_MODEL_SETTING, project_model
from ml_platform.models.database import write_alias, write_connection
from ml_platform.models.project import LONGEST_KEY, key_field
from ml_platform.models.registry.kept_rows import has_trigrams

Rule = Callable[[], Iterator[CheckMessage]]
DATABASES = ("sqlite", "postgresql")
QUEUE = "default"
SIGN_IN = "django.contrib.auth.middleware.AuthenticationMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"


def _project_key() -> Iterator[CheckMessage]:
    """Django itself reports a model that does not exist."""
    try:
        key = key_field(project_model())
    except LookupError:
        return
    short = isinstance(key, CharField) and (key.max_length or inf) <= LONGEST_KEY
    if not short and not isinstance(key, IntegerField | UUIDField):
        yield Error(
            f"{PROJECT_MODEL_SETTING} is {project_model()!r}, whose primary key is a "
            f"{type(key).__name__}.",
            hint="URLs and operations contain the id of the project: use an integer, a UUID or a "
            f"CharField of up to {LONGEST_KEY} characters as its primary key.",
            id="mlp.E015",
        )


def _time_zones() -> Iterator[CheckMessage]:
    if not settings.USE_TZ:
        yield Error(
            "USE_TZ is False.",
            hint="Operations, leases and schedules compare times of several machines: set "
            "USE_TZ = True. TIME_ZONE remains what people see.",
            id="mlp.E016",
        )


def _database() -> Iterator[CheckMessage]:
    yield from _spread_over_databases()
    alias, vendor = write_alias(), write_connection().vendor
    if vendor not in DATABASES:
        yield Error(
            f"The database {alias!r} is {vendor}.",
            hint="The locks and statements are written and tested for PostgreSQL and SQLite: use "
            "one of them, by a database router for the app ml_platform if needed.",
            id="mlp.E017",
        )


def _spread_over_databases() -> Iterator[CheckMessage]:
    """Tenants and users too: statements join them. Django itself reports models that are none."""
    try:
        theirs = [apps.get_model(name) for name in (project_model(), settings.AUTH_USER_MODEL)]
    except (LookupError, ValueError):
        return
    written = [*apps.get_app_config("ml_platform").get_models(), *theirs]
    aliases = {router.db_for_write(model) for model in written}
    if len(aliases) > 1:
        yield Error(
            "DATABASE_ROUTERS writes the tables of the app, projects and users to "
            f"{' and '.join(sorted(aliases))}.",
            hint="One transaction changes several of them, and statements join them: have the "
            "router write them all to one database. Where it reads is no matter.",
            id="mlp.E017",
        )


def _sign_in() -> Iterator[CheckMessage]:
    if missing := _missing_middleware():
        yield Error(
            f"MIDDLEWARE has no {' and no '.join(missing)}.",
            hint="Pages and API need to know who asks. Add it, or a subclass of it.",
            id="mlp.E018",
        )
    if why := _no_sign_in_page():
        yield Warning(
            f"LOGIN_URL is {settings.LOGIN_URL!r}{why}",
            hint="Visitors who are not signed in are sent there: name a URL pattern or an address "
            "that exists.",
            id="mlp.W003",
        )


def _missing_middleware() -> list[str]:
    """Those that neither stand in MIDDLEWARE nor have a subclass there."""
    missing = [name for name in (SESSIONS, SIGN_IN) if name not in settings.MIDDLEWARE]
    if not missing:  # the usual case imports nothing
        return []
    parents = {
        f"{parent.__module__}.{parent.__qualname__}"
        for path in settings.MIDDLEWARE
        for parent in getattr(import_string(path), "__mro__", ())
    }
    return [name for name in missing if name not in parents]


def _no_sign_in_page() -> str:
    try:
        address = _address_of(str(settings.LOGIN_URL))
        if address.startswith("/") and not address.startswith("//"):
            resolve(address.partition("?")[0])
    except NoReverseMatch:
        return ", which names no URL pattern."
    except Resolver404:
        return ", where no page is."
    return ""


def _address_of(url: str) -> str:
    """As `django.shortcuts.resolve_url` does, which loads the templates."""
    try:
        return reverse(url)
    except NoReverseMatch:
        if "/" not in url and "." not in url:
            raise
        return url


def _mounted() -> Iterator[CheckMessage]:
    try:
        reverse("ml_platform:start")
    except NoReverseMatch as error:
        below = "keyword argument" in str(error) or "pattern(s) tried" in str(error)
        yield Error(
            "The URLs of ml_platform are mounted below a path with a parameter."
            if below
            else "The URLs of ml_platform are not mounted.",
            hint='Add path("ml/", include("ml_platform.urls")) to the ROOT_URLCONF, below a path '
            "without parameters. Which tenant is meant stands in our own addresses.",
            id="mlp.E019",
        )


def _search() -> Iterator[CheckMessage]:
    if write_connection().vendor == "sqlite" and not has_trigrams():
        yield Warning(
            "This SQLite has no index of the parts of texts: each search reads all names.",
            hint="Use an SQLite of 3.34 or newer with FTS5, then run `manage.py migrate`; or "
            "PostgreSQL.",
            id="mlp.W005",
        )


def _tasks() -> Iterator[CheckMessage]:
    """Read the setting only: creating the backends would slow down every start."""
    tasks = getattr(settings, "TASKS", None) or {}
    default = tasks.get("default") or {}
    backend = str(default.get("BACKEND", "an immediate one"))
    if "immediate" in backend.lower() or "dummy" in backend.lower():
        yield Warning(
            f"The default backend of TASKS is {backend}.",
            hint="Operations would run inside requests, or never. Use a backend with its own "
            'worker, such as "django_tasks_db.DatabaseBackend" with `manage.py db_worker`.',
            id="mlp.W002",
        )
    queues = default.get("QUEUES")
    if queues and QUEUE not in queues:
        yield Error(
            f"The default backend of TASKS has the queues {', '.join(map(str, queues))}.",
            hint=f"Operations are put into the queue {QUEUE!r}: add it to QUEUES, and let a worker "
            "process it.",
            id="mlp.E020",
        )


RULES: tuple[Rule, ...] = (
    _project_key,
    _time_zones,
    _database,
    _sign_in,
    _mounted,
    _search,
    _tasks,
)
