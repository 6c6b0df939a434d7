"""The pages in a real browser: strict policy, narrow windows, both themes, keyboard, axe."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone

from ml_platform.models import Finding, RegisteredModel
from ml_platform.tests.browser.conftest import under_a_strict_policy
from ml_platform.tests.incident_rows import incident_rows, operations_of

pytestmark = pytest.mark.any_database
USUAL = {"width": 1280, "height": 720}


@pytest.fixture
def urls(live_server, browser_page, log_in):
    """Every page of the incident, the browser logged in, each answer under a strict policy."""

    under_a_strict_policy(browser_page)
    now = timezone.now()
    project = incident_rows(now)
    operations = operations_of(project, now)
    log_in(browser_page)
    paths = ["/", "/registry-health/", "/operations/", "/login/", "/api/docs"]
    paths += [f"/operations/{operation.pk}/" for operation in operations]
    paths += [f"/projects/{project.pk}/training/", f"/projects/{project.pk}/training/?q=none-such"]
    paths += [f"/projects/{project.pk}/training/new-{what}/" for what in ("run", "schedule")]
    paths += [f"/models/{model.pk}/" for model in RegisteredModel.objects.order_by("pk")[1:3]]
    paths += [f"/registry-health/findings/{finding.pk}/" for finding in Finding.objects.all()[:3]]
    return [live_server.url + path for path in paths]


@pytest.mark.timeout(300)  # two audits of each of two dozen pages
def test_every_page_is_styled_accessible_in_both_themes_and_fits_a_small_window(urls, browser_page):
    """Each page is loaded once. The fixture fails on whatever the console complains of, refused
    styles and scripts too."""
    for url in urls:
        browser_page.set_viewport_size(USUAL)
        browser_page.goto(url)
        assert browser_page.evaluate("getComputedStyle(document.body).margin") == "0px"
        for scheme in ("light", "dark"):
            # Without motion, because a color that is still changing has no contrast to judge.
            browser_page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = Axe().run(browser_page)
            assert found.violations_count == 0, f"{url} {scheme}\n{found.generate_report()}"
        browser_page.set_viewport_size({"width": 360, "height": 720})
        width = browser_page.evaluate("document.documentElement.scrollWidth")
        assert width == 360, url


def test_dark_and_light_differ_and_a_host_can_pin_one(urls, browser_page):
    def surface():
        return browser_page.evaluate("getComputedStyle(document.querySelector('.mlp')).color")

    browser_page.emulate_media(color_scheme="light")
    browser_page.goto(urls[0])
    light = surface()
    browser_page.emulate_media(color_scheme="dark")
    dark = surface()
    assert (light, dark) == ("rgb(26, 29, 33)", "rgb(232, 234, 237)")
    browser_page.evaluate(
        "const sheet = new CSSStyleSheet(); sheet.replaceSync(':root { --mlp-scheme: light }');"
        "document.adoptedStyleSheets = [sheet]"
    )
    assert surface() == light


def test_the_keyboard_reaches_the_content_first_and_shows_where_it_is(urls, browser_page):
    browser_page.goto(urls[0])
    browser_page.keyboard.press("Tab")
    skip = browser_page.locator(":focus")
    assert skip.inner_text() == "Skip to content"
    assert skip.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    browser_page.keyboard.press("Enter")
    assert browser_page.evaluate("document.activeElement.id") == "mlp-main"


def test_a_person_logs_in_reads_what_is_wrong_and_logs_out(urls, browser_page):
    browser_page.context.clear_cookies()
    start = urls[0]
    browser_page.goto(start)
    browser_page.fill("[name=username]", "ana")
    browser_page.fill("[name=password]", "wrong")
    browser_page.get_by_role("button", name="Log in").click()
    browser_page.get_by_role("alert").wait_for()
    assert browser_page.input_value("[name=username]") == "ana"
    browser_page.fill("[name=password]", "pw")
    browser_page.get_by_role("button", name="Log in").click()
    browser_page.wait_for_url(start)
    browser_page.get_by_role("link", name="Review 5").click()
    browser_page.get_by_role("heading", name="Registry health", level=1).wait_for()
    assert browser_page.locator("article").count() == 5
    browser_page.get_by_role("button", name="Log out").click()
    browser_page.wait_for_url("**/login/")
