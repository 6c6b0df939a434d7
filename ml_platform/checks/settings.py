"""What may be wrong in ML_PLATFORM."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning
from django.template import TemplateDoesNotExist, TemplateSyntaxError
from django.template.loader import get_template
from django.utils.module_loading import import_string

from ml_platform.conf import (
    Settings,
    require_settings,
)
from ml_platform.errors import Misconfigured

DEMO = "ml_platform.demo"
_REGION = re.compile(r"[a-z]+(-[a-z]+)*-[a-z]+[0-9]{1,2}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
_LOCAL_CLOUD = re.compile(r"[^\s/:]+:[0-9]{1,5}")
Rule = Callable[[Settings], Iterator[CheckMessage]]


def _required(_: Settings) -> Iterator[CheckMessage]:
    try:
        require_settings()
    except Misconfigured as error:
        yield Error(str(error), hint=error.advice, id="mlp.E002")


def _names(current: Settings) -> Iterator[CheckMessage]:
    """Empty values are reported by `_required`."""
    for key, what, pattern, number, hint in (
        ("PROJECT_ID", "project id", _PROJECT, 3, "Give an id such as my-project, not the number."),
        ("LOCATION", "region", _REGION, 4, "Give one region, such as europe-central2, not a zone."),
        ("BUCKET", "bucket", _BUCKET, 5, "Give the bucket's bare name, without gs:// and folders."),
    ):
        value = getattr(current, key)
        if value and not pattern.fullmatch(value):
            yield Error(
                f"ML_PLATFORM[{key!r}] is {value!r}, which is not a valid {what}.",
                hint=hint,
                id=f"mlp.E{number:03}",
            )


def _local_cloud(current: Settings) -> Iterator[CheckMessage]:
    if bool(current.LOCAL_CLOUD) != bool(current.LOCAL_CLOUD_HTTP):
        yield Error(
            "ML_PLATFORM has only one of LOCAL_CLOUD and LOCAL_CLOUD_HTTP.",
            hint="Set both to use the local cloud, or neither to use Google Cloud.",
            id="mlp.E006",
        )
    if current.LOCAL_CLOUD and not _LOCAL_CLOUD.fullmatch(current.LOCAL_CLOUD):
        yield Error(
            f"ML_PLATFORM['LOCAL_CLOUD'] is {current.LOCAL_CLOUD!r}, which is not host:port.",
            hint="Give the address that `manage.py localcloud` prints, such as 127.0.0.1:8790.",
            id="mlp.E007",
        )
    if current.LOCAL_CLOUD and not (
        django_settings.DEBUG or apps.is_installed(DEMO) or _is_test_run()
    ):
        yield Error(
            "ML_PLATFORM names a local cloud, and DEBUG is off.",
            hint="In production remove LOCAL_CLOUD and LOCAL_CLOUD_HTTP to use Google Cloud; for "
            "development set DEBUG = True.",
            id="mlp.E008",
        )


def _is_test_run() -> bool:
    """Django's test runner turns DEBUG off, and keeps sent e-mails in `mail.outbox`."""
    return hasattr(sys.modules.get("django.core.mail"), "outbox")


def _webhooks(current: Settings) -> Iterator[CheckMessage]:
    accounts, url = current.WEBHOOK_SERVICE_ACCOUNTS, current.PUBLIC_URL
    if accounts and not (url or current.WEBHOOK_AUDIENCE):
        yield Error(
            "ML_PLATFORM has WEBHOOK_SERVICE_ACCOUNTS but no audience for their tokens.",
            hint="Set PUBLIC_URL, the address at which Cloud Scheduler reaches this site, or "
            "WEBHOOK_AUDIENCE where the two differ. Until then every webhook call is refused.",
            id="mlp.E009",
        )
    if url and not accounts:
        yield Warning(
            "ML_PLATFORM has a PUBLIC_URL but no WEBHOOK_SERVICE_ACCOUNTS.",
            hint="Name the service account of Cloud Scheduler's tokens. Until then every "
            "webhook call is refused and no schedule can be created.",
            id="mlp.W001",
        )
    plain = url and not url.startswith("https://")
    if plain and not (current.LOCAL_CLOUD and url.startswith("http://")):
        yield Error(
            f"ML_PLATFORM['PUBLIC_URL'] is {url!r}, which is not an https:// URL.",
            hint="Tokens are sent to it, so it must begin with https://.",
            id="mlp.E010",
        )
    for account in accounts:
        if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", account):
            yield Error(
                f"ML_PLATFORM['WEBHOOK_SERVICE_ACCOUNTS'] has {account!r}, not an e-mail address.",
                hint="Give the service account's e-mail address, "
                "such as scheduler@my-project.iam.gserviceaccount.com.",
                id="mlp.E011",
            )


def _times(current: Settings) -> Iterator[CheckMessage]:
    if current.LEASE_SECONDS <= 2 * current.CALL_TIMEOUT:
        yield Error(
            f"ML_PLATFORM['LEASE_SECONDS'] is {current.LEASE_SECONDS}, "
            f"and CALL_TIMEOUT {current.CALL_TIMEOUT:g}.",
            hint="The lease must be more than twice CALL_TIMEOUT, or a second worker continues an "
            "operation while the first one still waits for Google.",
            id="mlp.E013",
        )


def _callables(current: Settings) -> Iterator[CheckMessage]:
    for key, hint in (
        ("PROJECTS_FOR_USER", "a callable(user) that returns a queryset of projects"),
        ("API_AUTHENTICATE", "a callable(request) that returns a user or None"),
    ):
        path = getattr(current, key)
        if path and (why := _not_callable(path)):
            yield Error(
                f"ML_PLATFORM[{key!r}] is {path!r}: {why}",
                hint=f"Give the dotted path of {hint}.",
                id="mlp.E014",
            )


def _not_callable(path: str) -> str:
    try:
        found = import_string(path)
    except ImportError as error:
        return str(error)
    return "" if callable(found) else "It is not callable."


def _base_template(current: Settings) -> Iterator[CheckMessage]:
    try:
        get_template(current.BASE_TEMPLATE)
    except (TemplateDoesNotExist, TemplateSyntaxError) as error:
        why = "which does not exist" if isinstance(error, TemplateDoesNotExist) else str(error)
        yield Error(
            f"ML_PLATFORM['BASE_TEMPLATE'] is {current.BASE_TEMPLATE!r}, {why}.",
            hint="Name a template of yours with the blocks title and content, or leave it out.",
            id="mlp.E012",
        )


RULES: tuple[Rule, ...] = (
    _required,
    _names,
    _local_cloud,
    _webhooks,
    _times,
    _callables,
    _base_template,
)
