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

from ml_platform.errors import Denied


def page(name: str) -> Callable[..., HttpResponseBase]:
    """The view `ml_platform.pages.<name>`."""

    # A host's ATOMIC_REQUESTS would put calls to Google into a transaction (law 6).
    @transaction.non_atomic_requests
    def view(request: HttpRequest, **kwargs: object) -> HttpResponseBase:
        shown = import_string(f"ml_platform.pages.{name}")
        try:
            require_view(request)
            answer: HttpResponseBase = shown(request, **kwargs)
        except Denied as error:
            answer = denied(request, error, back="")
        except Http404 as error:
            answer = not_found(request, error)
        except PermissionDenied as error:
            answer = forbidden(request, error)
        return answer

    return view


def _late(name: str) -> Callable[..., HttpResponseBase]:
    """A function of the pages, imported when it is called: a host's handlers are at start."""

    def view(*args: object, **kwargs: object) -> HttpResponseBase:
        answer: HttpResponseBase = import_string(f"ml_platform.pages.{name}")(*args, **kwargs)
        return answer

    return view


not_found, forbidden = _late("layout.not_found"), _late("layout.forbidden")
csrf_failure = _late("layout.csrf_failure")
"""Good, as the two before, as a host's `handler404`, `handler403` and `CSRF_FAILURE_VIEW`."""
require_view, denied = _late("layout.require_view"), _late("requests.failed")
