"""The confirmation of this installation: what its marker says, and the button that takes it."""

from __future__ import annotations

from uuid import uuid4

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from ml_platform.actions.action import perform
from ml_platform.actions.system import CONFIRM
from ml_platform.errors import PlatformError
from ml_platform.pages.layout import begun, caller_of, failed, form_page, render_page
from ml_platform.services.installation.identity import current, identity
from ml_platform.services.installation.marker import place


@form_page
def confirm(request: HttpRequest) -> HttpResponse:
    """Show what was found and what is taken; on POST replace the marker."""
    caller = caller_of(request)
    CONFIRM.find(caller, "")
    back = reverse("ml_platform:registry_health")
    if request.method == "POST":
        try:
            return begun(request, perform(CONFIRM, "", None, caller))
        except PlatformError as error:
            return failed(request, error, back=back)
    row, us = current(), identity()
    if not row.stopped_reason:
        return redirect(back)
    found = {
        "found": row.stopped_reason,
        "taken": f"{place()} becomes the marker of installation {us.uid} ({us.name}).",
        "key": uuid4().hex,
    }
    return render_page(request, "confirm_installation", found)
