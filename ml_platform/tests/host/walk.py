"""What visitors of the host meet, as JSON; needs the host's settings and a migrated database."""

from __future__ import annotations

import json
from urllib.parse import quote

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 - apps first
from django.contrib.auth.models import Permission  # noqa: E402
from django.test import Client  # noqa: E402
from django.urls import reverse  # noqa: E402
from django.utils import timezone  # noqa: E402

from ml_platform.models import Sweep, TrainingRun  # noqa: E402
from ml_platform.services.findings.kinds import FindingKind  # noqa: E402
from ml_platform.services.operations.history import record  # noqa: E402
from ml_platform.services.operations.store import Actor, Subject  # noqa: E402
from ml_platform.services.workflows import WORKFLOWS  # noqa: E402
from ml_platform.tests.factories import FindingFactory  # noqa: E402
from ml_platform.tests.host.models import Shop  # noqa: E402

RUN = 1234567
PAGES = ("/ml/", "/ml/registry-health/", "/ml/operations/")


def main() -> dict[str, object]:
    """Two owners and an administrator, one after the other."""
    users = get_user_model().objects
    ann, ben = users.create_user("ann"), users.create_user("ben")
    for user in (ann, ben):
        user.user_permissions.add(Permission.objects.get(codename="view_registeredmodel"))
    admin = users.create_superuser("admin")
    shops = [
        Shop.objects.create(title=f"{name}s-shop", owner=user)
        for name, user in (("ann", ann), ("ben", ben))
    ]
    operations = [
        record(
            workflow=WORKFLOWS["clean-up-orphans"],
            subject=Subject(type="registeredmodel", id="1", name=str(shop), project_id=shop.pk),
            actor=Actor(label=shop.owner.get_username(), origin="page", user_id=shop.owner.pk),
            now=timezone.now(),
            note="done",
        )
        for shop in shops
    ]
    TrainingRun.objects.create(pk=RUN, project_id=shops[0].pk, model_name="rank", template_uri="x")
    visitor, hers, his = Client(), Client(), Client()
    hers.force_login(ann)
    his.force_login(admin)
    pages = {path: hers.get(path) for path in PAGES}
    checked = his.post("/ml/registry-health/check/")
    by_api = by_the_api(his, shops[0])
    return {
        "visitor": {path: visitor.get(path).headers.get("Location") for path in PAGES},
        "status": {path: page.status_code for path, page in pages.items()},
        "base": all(b"The host's own header" in page.content for page in pages.values()),
        "static": all(b'"/assets/ml_platform/css/' in page.content for page in pages.values()),
        "sees_own": b"anns-shop" in pages["/ml/"].content,
        "sees_other": any(b"bens-shop" in page.content for page in pages.values()),
        "operations": [hers.get(f"/ml/operations/{o.pk}/").status_code for o in operations],
        "check": [checked.status_code, checked.headers.get("Location")],
        "sweeps": [
            [sweep.status, sweep.actor_label == admin.get_username()]
            for sweep in Sweep.objects.all()
        ],
        "hers_check": hers.post("/ml/registry-health/check/").status_code,
        "training": by_page(his, shops[0]),
        "api": by_api,
        "projects": by_projects(his, shops[0]),
    }


def by_page(client: Client, shop: Shop) -> list[object]:
    """The pages of a project: ids as a script finds them, the host's zone in a form."""
    page = client.get(reverse("ml_platform:training", args=[shop.pk]))
    form = client.get(reverse("ml_platform:new_schedule", args=[shop.pk]))
    return [
        page.status_code,
        f'id="run-{RUN}"' in page.content.decode(),
        'value="Europe/Warsaw"' in form.content.decode(),
    ]


def by_projects(client: Client, shop: Shop) -> list[object]:
    """The host makes its shops itself; each is archived and brought back, whatever its key."""
    path = f"/ml/api/projects/{quote(str(shop.pk), safe='')}/"
    settings = reverse("ml_platform:project", args=[shop.pk])
    button = reverse("ml_platform:do", args=["unarchive-project", str(shop.pk)])

    def sent(path: str, **body: str) -> list[object]:
        answer = client.post(path, body, content_type="application/json")
        return [answer.status_code, answer.json().get("detail", "")]

    return [
        sent("/ml/api/projects/", name="another"),
        sent(f"{path}rename/", name="another"),
        sent(f"{path}add-member/", user="ann"),
        sent(f"{path}archive/", reason="Sold.")[0],
        client.get("/ml/api/projects/?archived=true").json()["items"][0]["archived"],
        b"This project is archived." in client.get(settings).content,
        client.get(f"{button}check/").json(),
        client.post(button).status_code,
        client.get(path).json()["archived"],
    ]


def by_the_api(client: Client, shop: Shop) -> dict[str, object]:
    """What the API answers about keys: in lists, in their filters, in bodies, in the contract."""
    key, wrong = str(shop.pk), "no such key" * 9
    operations = client.get("/ml/api/operations/", {"project": key}).json()["items"]
    body = {"project": shop.pk, "model_name": "rank", "template_uri": "gs://elsewhere/t.json"}
    asked = client.post(
        "/ml/api/training-runs/",
        body,
        content_type="application/json",
        headers={"Idempotency-Key": "a"},
    )
    theirs = FindingFactory.create(
        kind=FindingKind.UNMANAGED,
        subject="projects/demo-project/locations/europe-central2/models/77",
    )
    adopted = client.post(
        f"/ml/api/audit/findings/{theirs.pk}/repair/",
        {"action": "adopt", "project": shop.pk, "model_name": "rank"},
        content_type="application/json",
    )
    schemas = client.get("/ml/api/openapi.json").json()["components"]["schemas"]
    return {
        "operations": [
            (str(one["project"]) == key, one["actor"]["name"][:3]) for one in operations
        ],
        "models": client.get("/ml/api/models/", {"project": key}).status_code,
        "wrong": client.get("/ml/api/models/", {"project": wrong}).status_code,
        "run": [asked.status_code, asked.json()["code"]],
        "adopted": [adopted.status_code, str(adopted.json().get("project")) == key],
        "type": [
            schemas["ProjectRef"]["properties"]["id"].get(word) for word in ("type", "format")
        ],
    }


if __name__ == "__main__":
    print(json.dumps(main()))  # noqa: T201 - a program
