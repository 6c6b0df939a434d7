"""The one view in the url configuration: the API behind it is built at its first request.

django-ninja and pydantic cost more to import than the rest of the app together; a host that
never uses the API, or only runs a command, does not import them.
"""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from ml_platform.models.database import never_atomic


# A host's ATOMIC_REQUESTS would put calls to Google into a transaction (law 6), its
# LoginRequiredMiddleware would send programs to a login page, and its CSRF middleware would ask
# clients with a token for a cookie. The API does all three itself.
@never_atomic
@login_not_required
@csrf_exempt
@never_cache
def door(request: HttpRequest, path: str) -> HttpResponseBase:
    """Pass a request for `/api/<path>` to the API."""
    from .api import serve

    return serve(request, path)
