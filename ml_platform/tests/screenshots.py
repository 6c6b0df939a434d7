"""Pictures of every page for the README: `python -m ml_platform.tests.screenshots [folder]`.

The demo plays the incident on free ports and in a database of its own; the system's Chromium
photographs it light, dark and narrow.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "images"
ONE_SCREEN = ("delete-dialog", "api")
"""Pages that are shown as a person first sees them, and not to their end."""
LOOKS = {
    "light": {
        "color_scheme": "light",
        "viewport": {"width": 1280, "height": 800},
        "device_scale_factor": 1,
    },
    "dark": {
        "color_scheme": "dark",
        "viewport": {"width": 1280, "height": 800},
        "device_scale_factor": 1,
    },
    "narrow": {
        "color_scheme": "light",
        "viewport": {"width": 360, "height": 760},
        "device_scale_factor": 1,
    },
}


def main(folder: Path) -> int:
    """Write `<page>-<look>.png` for each page and look."""
    from .browsers import MISSING, find_browser

    if not find_browser():
        print(MISSING)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, _site(directory) as (url, session, paths):
        for file in _photograph(find_browser(), url, session, paths, folder):
            print(file.relative_to(folder.parent))
    return 0


@contextmanager
def _site(directory: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """The demo on free ports: its address, a session, the pages' paths."""
    os.environ.update(
        DJANGO_SETTINGS_MODULE="ml_platform.demo.settings",
        # Playwright keeps an event loop in this thread, which the ORM would refuse to work beside.
        DJANGO_ALLOW_ASYNC_UNSAFE="true",
    )
    import django

    django.setup()
    from django.test import Client

    from ml_platform.demo import site, world
    from ml_platform.models.clock import database_now
    from ml_platform.services.operations.store import Actor
    from ml_platform.services.sweeps.sweep import sweep

    with ExitStack() as started:
        server = started.enter_context(site.bound_server(port=0))
        cloud = started.enter_context(world.local_cloud(port=0))
        started.enter_context(world.database(Path(directory)))
        world.change_settings(PUBLIC_URL=f"http://{site.HOST}:{server.server_port}/")
        user, _ = world.make_user()
        world.SCENARIOS["incident"](cloud=cloud, user=user, now=database_now())
        for _ in range(2):  # only a second look proves that a model is gone
            sweep(actor=Actor(label="demo", origin="command"), clock=database_now)
        client = Client()
        client.force_login(user)  # type: ignore[arg-type] # Django names its own User
        url = started.enter_context(site.serving(server)).rstrip("/")
        yield url, client.cookies["sessionid"].value, _paths()


def _paths() -> dict[str, str]:
    """Each page's picture and where the page is."""
    from ml_platform.models import Finding, Operation, RegisteredModel

    model = RegisteredModel.objects.get(model_name="chern_retriv_v5")
    under_way = Operation.objects.live().order_by("created_at")[0]
    idle = RegisteredModel.objects.get(model_name="chern_rank_v3")
    return {
        "start": "/",
        "training": f"/projects/{model.project_id}/training/",
        "model": f"/models/{model.pk}/",
        "delete": f"/models/{idle.pk}/delete/?version=1",
        "registry-health": "/registry-health/",
        "finding": f"/registry-health/findings/{Finding.objects.get(kind='stale_pointer').pk}/",
        "finding-unmanaged": "/registry-health/findings/"
        f"{Finding.objects.filter(kind='unmanaged')[0].pk}/",
        "operations": "/operations/",
        "operation": f"/operations/{under_way.pk}/",
        "delete-dialog": f"/models/{idle.pk}/",
        "error": "/models/999999/",
        "api": "/api/docs",
        "login": "/login/",
    }


def _photograph(
    browser: str, url: str, session: str, paths: dict[str, str], folder: Path
) -> Iterator[Path]:
    from playwright.sync_api import sync_playwright

    from .browsers import ARGUMENTS

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=ARGUMENTS)
        for look, options in LOOKS.items():
            context = chromium.new_context(**options)  # type: ignore[arg-type]
            context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
            page = context.new_page()
            for name, path in paths.items():
                page.goto(url + path)
                if name == "delete-dialog":
                    page.get_by_role("link", name="Delete v1").click()
                    page.get_by_role("dialog").wait_for()
                whole = name not in ONE_SCREEN and (look == "narrow" or name != "start")
                file = folder / f"{name}-{look}.png"
                page.screenshot(path=file, full_page=whole)
                yield file
            context.close()
        chromium.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m ml_platform.tests.screenshots")
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    sys.exit(main(parser.parse_args().folder))
