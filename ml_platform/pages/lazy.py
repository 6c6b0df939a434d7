"""The views in the url configuration: each page is imported at its first request.

The pages bring the services with them; a command or a start does not pay for what it never asks.
"""

from __future__ import annotations

from collections.abc import Callable

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string


def page(name: str) -> Callable[..., HttpResponseBase]:
    """The view `ml_platform.pages.<name>`."""

    # A host's ATOMIC_REQUESTS would put calls to Google into a transaction (law 6).
    @transaction.non_atomic_requests
    def view(request: HttpRequest, **kwargs: object) -> HttpResponseBase:
        shown = import_string(f"ml_platform.pages.{name}")
        try:
            answer: HttpResponseBase = shown(request, **kwargs)
        except Http404 as error:
            answer = not_found(request, error)
        except PermissionDenied as error:
            answer = forbidden(request, error)
        return answer

    return view


def _late(name: str) -> Callable[..., HttpResponseBase]:
    """A view of the frame, imported when it is shown: Django imports a host's handlers at start."""

    def view(*args: object, **kwargs: object) -> HttpResponseBase:
        answer: HttpResponseBase = import_string(f"ml_platform.pages.layout.{name}")(
            *args, **kwargs
        )
        return answer

    return view


not_found, forbidden, csrf_failure = map(_late, ("not_found", "forbidden", "csrf_failure"))
"""Good as a host's `handler404`, `handler403` and `CSRF_FAILURE_VIEW`."""
