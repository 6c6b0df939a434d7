"""The `ML_PLATFORM` dict of the host's settings, read once into a frozen dataclass."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from math import inf
from typing import Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.dispatch import receiver

from .errors import Misconfigured

PROJECT_MODEL_SETTING = "ML_PLATFORM_PROJECT_MODEL"


def project_model() -> str:
    """Label of the Project model: ours, or the one in `ML_PLATFORM_PROJECT_MODEL`.

    Django's migration commands read the setting of a swappable model from the settings, so its
    default must be set there.
    """
    if not hasattr(django_settings, PROJECT_MODEL_SETTING):
        setattr(django_settings, PROJECT_MODEL_SETTING, "ml_platform.Project")
    return str(getattr(django_settings, PROJECT_MODEL_SETTING))


OWN_BASE = "ml_platform/base.html"
"""The base template if the host has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One attribute for each key of `ML_PLATFORM`; the docstrings are in docs/host.md."""

    PROJECT_ID: str = ""
    """Google Cloud project id (not the number) that holds models, services and jobs. Required."""
    LOCATION: str = "us-central1"
    """Region of the Vertex AI Model Registry, Cloud Run and Cloud Scheduler."""
    BUCKET: str = ""
    """Bucket of the training artifacts, without `gs://`. Deletion never leaves it. Required."""
    ARTIFACTS_PREFIX: str = "runs"
    """Folder in the bucket below which each run has its own prefix; never the bucket's root."""
    INSTALLATION: str = "default"
    """Name of this installation, the label `mlp_owner` of all that it creates."""
    TEMPLATE_DIR: str = ""
    """Folder on disk below which compiled pipelines may be read; empty reads them from GCS only."""
    LOCAL_CLOUD: str = ""
    """`host:port` of the local cloud's gRPC server; empty to use Google."""
    LOCAL_CLOUD_HTTP: str = ""
    """Base URL of the local cloud's HTTP server (GCS, OIDC certificates)."""
    CALL_TIMEOUT: float = 20.0
    """Seconds a single call to Google may take, its answer included."""
    RETRY_TIMEOUT: float = 20.0
    """Seconds for which a read that got UNAVAILABLE is repeated; 0 never repeats."""
    LEASE_SECONDS: int = 60
    """Seconds until another worker may continue an Operation; more than 2 x CALL_TIMEOUT."""
    UPLOAD_HORIZON: int = 600
    """Seconds to wait for the effect of an upload whose answer was lost before it is sent again."""
    SERVING_IMAGE: str = "us-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
    """Container image that models are registered and served with."""
    ORPHAN_DAYS: int = 7
    """Age in days from which a lineage that was never registered is an orphan."""
    AUDIT_INTERVAL_HOURS: float = 1.0
    """Hours between two audits; what was last verified three of them ago is shown as unknown."""
    IGNORED_FINDING_DAYS: int = 90
    """Days after which a finding that somebody ignored is open again."""
    PROTECTED_ALIASES: tuple[str, ...] = ("champion", "production")
    """Aliases that protect their version from deletion; administrators may move or remove them."""
    BASE_TEMPLATE: str = OWN_BASE
    """Template that our pages extend."""
    PROJECTS_FOR_USER: str = ""
    """Dotted path of a callable(user) -> queryset of the projects the user belongs to."""
    API_AUTHENTICATE: str = ""
    """Dotted path of a callable(request) -> user or None that replaces sessions and tokens; it
    must check CSRF itself."""
    PUBLIC_URL: str = ""
    """Base URL of this site for Google, where the urls are mounted: `https://ml.example.com/`."""
    JOB_PREFIX: str = ""
    """Start of the names of the platform's own jobs in Cloud Scheduler: `shop-`. A second
    installation in a Google project needs one."""
    WEBHOOK_AUDIENCE: str = ""
    """Audience of the OIDC tokens that Cloud Scheduler sends; empty means PUBLIC_URL."""
    WEBHOOK_SERVICE_ACCOUNTS: tuple[str, ...] = ()
    """E-mail addresses of the accounts whose tokens the webhooks accept; our jobs use the first."""
    WEBHOOK_CERTS_URL: str = "https://www.googleapis.com/oauth2/v1/certs"
    """URL of the certificates of the token issuer."""
    WEBHOOK_TRUST_PLATFORM: bool = False
    """True only behind Cloud Run's own IAM check, which removes the token's signature."""


_FOLDER = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9_-]{0,100}")
_LABEL = re.compile(r"[a-z0-9_-]{1,63}")
ALIAS = r"[a-z][a-z0-9-]{0,126}[a-z0-9]"
"""Pattern of a version alias; `cloud.names.check_alias` names its sources."""


def _may_be_protected(alias: object) -> bool:
    return isinstance(alias, str) and alias != "default" and bool(re.fullmatch(ALIAS, alias))


RULES: Mapping[str, tuple[Callable[[Any], object], str]] = {
    "ARTIFACTS_PREFIX": (
        _FOLDER.fullmatch,
        "Give a folder below the bucket's root, such as runs or ml/runs: letters, digits, - _ and "
        "dots that begin no name.",
    ),
    "INSTALLATION": (
        _LABEL.fullmatch,
        "It becomes a label on Google Cloud: give 1 to 63 of a-z, 0-9, - and _.",
    ),
    "JOB_PREFIX": (
        _PREFIX.fullmatch,
        "It begins names of Cloud Scheduler jobs: give up to 100 of letters, digits, - and _.",
    ),
    "CALL_TIMEOUT": (
        lambda seconds: 0 < seconds < inf,
        "Each call to Google needs a limit above 0 seconds.",
    ),
    "RETRY_TIMEOUT": (
        lambda seconds: 0 <= seconds < inf,
        "Give the seconds for which a read may be repeated; 0 never repeats.",
    ),
    "UPLOAD_HORIZON": (
        lambda seconds: seconds > 0,
        "An upload whose answer was lost may still take effect: use more than 0 seconds.",
    ),
    "SERVING_IMAGE": (bool, "Give the container image that models are served with."),
    "ORPHAN_DAYS": (
        lambda days: days >= 1,
        "A lineage created today may still be in use: give 1 day or more.",
    ),
    "AUDIT_INTERVAL_HOURS": (
        lambda hours: 0 < hours <= 8760,
        "Give the hours between two audits, as audit-registry is scheduled; a year at most.",
    ),
    "IGNORED_FINDING_DAYS": (
        lambda days: 1 <= days <= 3650,
        "Give the days for which a finding stays ignored, from 1 to 3650.",
    ),
    "PROTECTED_ALIASES": (
        lambda aliases: all(_may_be_protected(alias) for alias in aliases),
        "Give a list of version aliases, each 2 to 128 of a-z, 0-9 and hyphen, a letter first, no "
        "hyphen last; not default, which one version of every model has. [] protects none.",
    ),
    "BASE_TEMPLATE": (bool, "Give the template that our pages extend."),
}
"""Rules for values of the right type, each with its advice."""


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings.

    :raises Misconfigured: there is an unknown key, a value of the wrong type, or a forbidden one.
    """
    given: dict[str, Any] = dict(getattr(django_settings, "ML_PLATFORM", {}))
    known = {f.name: f for f in fields(Settings)}
    if unknown := sorted(given.keys() - known.keys()):
        raise Misconfigured(
            f"ML_PLATFORM has unknown keys: {', '.join(unknown)}.",
            advice=f"Known keys are {', '.join(sorted(known))}.",
        )
    for name, value in given.items():
        given[name] = _ruled(name, _typed(name, value, known[name].default))
    return Settings(**given)


def require_settings() -> Settings:
    """Return the settings for work that talks to Google.

    :raises Misconfigured: PROJECT_ID, LOCATION or BUCKET is missing.
    """
    current = get_settings()
    if missing := [k for k in ("PROJECT_ID", "LOCATION", "BUCKET") if not getattr(current, k)]:
        raise Misconfigured(
            f"ML_PLATFORM has no {', '.join(missing)}.",
            advice="Set it in the host's settings, for example "
            'ML_PLATFORM = {"PROJECT_ID": "my-project", "LOCATION": "europe-central2", '
            '"BUCKET": "my-artifacts"}.',
        )
    return current


def _typed(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, tuple) and isinstance(value, list):
        value = tuple(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        raise Misconfigured(
            f"ML_PLATFORM[{name!r}] is {value!r}, which is not a {type(default).__name__}.",
            advice=f"Its default is {default!r}.",
        )
    return value


def _ruled(name: str, value: Any) -> Any:
    meant = value.strip("/") if name == "ARTIFACTS_PREFIX" else value
    holds, advice = RULES.get(name, (lambda _: True, ""))
    if not holds(meant):
        raise Misconfigured(f"ML_PLATFORM[{name!r}] is {value!r}.", advice=advice)
    return meant


@receiver(setting_changed)
def _reload(*, setting: str, **_: Any) -> None:
    if setting == "ML_PLATFORM":
        get_settings.cache_clear()
