"""The views in the url configuration: each page is imported at its first request.

The pages import the services; a command or a start does not import what it never uses.
"""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.log import log_response
from django.utils.module_loading import import_string

from ml_platform.errors import PlatformError
from ml_platform.guard import DATABASE_FAILURES, DatabaseAway, require_readable
from ml_platform.models.database import never_atomic


def page(name: str) -> Callable[..., HttpResponse]:
    """The view `ml_platform.pages.<name>`, behind the refusals and errors that all pages share."""

    # A host's ATOMIC_REQUESTS would put calls to Google into a transaction (law 6).
    @never_atomic
    def view(request: HttpRequest, **kwargs: object) -> HttpResponse:
        try:
            require_readable(request, form=True)
        except PlatformError as error:
            return bare(request, error)
        return _unless_away(_shown, request, name, kwargs)

    return view


def _shown(request: HttpRequest, name: str, kwargs: dict[str, object]) -> HttpResponse:
    try:
        import_string("ml_platform.pages.layout.require_view")(request)
        shown: HttpResponse = import_string(f"ml_platform.pages.{name}")(request, **kwargs)
    except Http404 as error:
        return not_found(request, error)
    except PermissionDenied as error:
        return forbidden(request, error)
    except PlatformError as error:
        return failed(request, error)
    return shown


def _unless_away(
    view: Callable[..., HttpResponse], request: HttpRequest, *args: object, **kwargs: object
) -> HttpResponse:
    """The view's answer; 503 on a page without a query when the database cannot be reached.

    A host's error pages may need it too, and then the failure would be reported nowhere.
    """
    try:
        return view(request, *args, **kwargs)
    except DATABASE_FAILURES as error:
        away = DatabaseAway()
        answer = bare(request, away)
        answer["Retry-After"] = f"{away.retry_after:.0f}"
        log_response(
            "%s: %s", str(away), request.path, response=answer, request=request, exception=error
        )
        return answer


def _late(name: str) -> Callable[..., HttpResponse]:
    """A view of the frame, imported when it is shown: Django imports a host's handlers at start."""

    def view(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        shown: Callable[..., HttpResponse] = import_string(f"ml_platform.pages.{name}")
        return _unless_away(shown, request, *args, **kwargs)

    return view


not_found, forbidden = _late("layout.not_found"), _late("layout.forbidden")
csrf_failure = _late("layout.csrf_failure")
"""These three are for a host's `handler404`, `handler403` and `CSRF_FAILURE_VIEW`."""
bare, failed = _late("layout.bare"), _late("layout.failed")
