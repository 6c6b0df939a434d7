"""What visitors of the host meet, as JSON; needs the host's settings and a migrated database."""

from __future__ import annotations

import json

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 - apps first
from django.contrib.auth.models import Permission  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from ml_platform.models import Sweep  # noqa: E402
from ml_platform.services.operations.history import record  # noqa: E402
from ml_platform.services.operations.store import Actor, Subject  # noqa: E402
from ml_platform.services.workflows import WORKFLOWS  # noqa: E402
from ml_platform.tests.host.models import Shop  # noqa: E402

PAGES = ("/ml/", "/ml/registry-health/", "/ml/operations/")


def main() -> dict[str, object]:
    """Two owners and an administrator, one after the other."""
    users = get_user_model().objects
    ann, ben = users.create_user("ann"), users.create_user("ben")
    for user in (ann, ben):
        user.user_permissions.add(Permission.objects.get(codename="view_registeredmodel"))
    admin = users.create_superuser("admin")
    shops = [Shop.objects.create(title=f"{u.username}s-shop", owner=u) for u in (ann, ben)]
    operations = [
        record(
            workflow=WORKFLOWS["clean-up-orphans"],
            subject=Subject(type="registeredmodel", id="1", name=str(shop), project_id=shop.pk),
            actor=Actor(label=shop.owner.username, origin="page"),
            now=timezone.now(),
            note="done",
        )
        for shop in shops
    ]
    visitor, hers, his = Client(), Client(), Client()
    hers.force_login(ann)
    his.force_login(admin)
    pages = {path: hers.get(path) for path in PAGES}
    checked = his.post("/ml/registry-health/check/")
    return {
        "visitor": {path: visitor.get(path).headers.get("Location") for path in PAGES},
        "status": {path: page.status_code for path, page in pages.items()},
        "base": all(b"The host's own header" in page.content for page in pages.values()),
        "static": all(b'"/assets/ml_platform/css/' in page.content for page in pages.values()),
        "sees_own": b"anns-shop" in pages["/ml/"].content,
        "sees_other": any(b"bens-shop" in page.content for page in pages.values()),
        "operations": [hers.get(f"/ml/operations/{o.pk}/").status_code for o in operations],
        "check": [checked.status_code, checked.headers.get("Location")],
        "sweeps": list(Sweep.objects.values_list("status", "actor_label")),
        "hers_check": hers.post("/ml/registry-health/check/").status_code,
    }


if __name__ == "__main__":
    print(json.dumps(main()))  # noqa: T201 - a program
