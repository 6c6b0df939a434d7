"""Where one ends up: coming back, logged out, refused, asked for a reason, explained to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from ml_platform.models import DeployedEndpoint, Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import FindingStatus, RunStatus

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from ml_platform.tests.browser.conftest import Site

pytestmark = pytest.mark.any_database

LONG = "test-v1-chern-retriv-v6-42febc29b3"
TOO_WIDE = """[...document.querySelectorAll(".mlp-table-box")]
    .filter(box => box.scrollWidth > box.clientWidth).map(box => box.textContent.slice(0, 40))"""


def not_blessed() -> TrainingRun:
    run = TrainingRun.objects.filter(status=RunStatus.NOT_BLESSED).order_by("-created_at").first()
    assert run
    return run


def test_no_table_hides_a_column_though_names_are_long(site: Site):
    DeployedEndpoint.objects.filter(service_name="test-v1-retriv").update(service_name=LONG)
    for width in (1280, 768, 360):
        site.page.set_viewport_size({"width": width, "height": 800})
        assert site.training().evaluate(TOO_WIDE) == [], width
        expect(site.page.locator(f"a[title*='{LONG}']").first).to_be_visible()


def test_coming_back_the_filters_say_what_the_table_shows(site: Site):
    page = site.training()
    page.locator("select[name=type]").select_option("hybrid")
    page.wait_for_url("**type=hybrid**")
    page.go_back()
    expect(page.locator("#models tbody tr")).to_have_count(8)
    expect(page.locator("select[name=type]")).to_have_value("")


def test_a_login_on_the_way_to_a_button_ends_on_a_page_to_read(site: Site):
    page = site.open("/registry-health/")
    page.context.clear_cookies(name="sessionid")
    page.get_by_role("button", name="Check now").click()
    page.fill("[name=username]", "ana")
    page.fill("[name=password]", "pw")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/registry-health/")
    expect(page.get_by_role("heading", name="Registry health", level=1)).to_be_visible()
    run = not_blessed()
    site.open(f"/do/rerun/{run.pk}/")
    page.wait_for_url(f"**/training/#run-{run.pk}")


def test_what_is_not_there_is_said_in_our_frame_with_a_way_back(site: Site):
    for scheme in ("light", "dark"):
        is_not_there(site, scheme)


def is_not_there(site: Site, scheme: Any) -> None:
    context = site.another_browser(
        color_scheme=scheme, viewport={"width": 360, "height": 720}, bypass_csp=True
    )
    page = context.new_page()
    page.goto(f"{site.url}/models/999999/")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("There is no registered model 999999.")
    assert Axe().run(page).violations_count == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.get_by_role("link", name="Starting page").click()
    page.wait_for_url(f"{site.url}/")
    context.close()


def mistype(page: Page, name: str) -> None:
    page.get_by_label("to delete version 1").fill(name)
    page.get_by_role("button", name="Delete version 1").click()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_wrong_name_is_told_at_its_field_and_the_right_one_deletes(site: Site, scripts: bool):
    context = site.another_browser(java_script_enabled=scripts)
    page = context.new_page()
    page.goto(site.model("chern_rank_v3").url)
    page.get_by_role("link", name="Delete v1").click()
    mistype(page, "chern_rank")
    field = page.get_by_label("to delete version 1")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("chern_rank")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was deleted")
    expect(page.get_by_role("dialog")).to_have_count(int(scripts))
    before = Operation.objects.count()
    mistype(page, "chern_rank_v3")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(field).to_have_count(0)
    assert Operation.objects.count() == before + 1
    context.close()


@pytest.mark.parametrize("scripts", [True, False])
def test_a_reason_is_asked_for_and_its_button_says_the_verb(site: Site, scripts: bool):
    context = site.another_browser(java_script_enabled=scripts)
    page = context.new_page()
    run = not_blessed()
    page.goto(site.training().url)
    page.get_by_role("link", name=f"Register run {run.pk} of").click()
    page.get_by_label("Why register it?").fill("Better than none.")
    with site.work():
        page.get_by_role("button", name="Register", exact=True).click()
    assert Operation.objects.get(reason="Better than none.").kind == "register"
    context.close()


def test_a_finding_is_ignored_from_its_dialog_and_both_dialogs_close(site: Site):
    page = site.open("/registry-health/")
    page.get_by_role("link", name="Review: trd-test").first.click()
    page.get_by_role("link", name="Ignore: trd-test").click()
    page.get_by_label("Why is it left as it is?").fill("Known.")
    page.get_by_role("button", name="Ignore", exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("article")).to_have_count(4)
    assert Finding.objects.get(status=FindingStatus.IGNORED).ignored_reason == "Known."


def test_a_toast_is_reached_while_a_dialog_is_open(site: Site):
    page = site.training()
    page.get_by_role("button", name="Pause: Retrieval, every night").click()
    expect(page.get_by_role("status").first).to_be_visible()
    page.get_by_role("button", name="Undeploy test-v1-rank", exact=True).click()
    page.get_by_role("button", name="Close this message").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_destroys_is_not_under_the_finger(site: Site):
    page = site.training()
    page.get_by_role("button", name="Undeploy test-v1-rank", exact=True).click()
    expect(page.get_by_role("button", name="Keep it running")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert DeployedEndpoint.objects.get(service_name="test-v1-rank").is_active


def test_an_id_is_copied_by_a_click_or_selected(site: Site):
    page = site.model("chern_retriv_v5")
    name = RegisteredModel.objects.get(model_name="chern_retriv_v5").vertex_model_resource_name
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copy = page.get_by_role("button", name=f"Copy {name}")
    copy.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == name
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    copy.click()
    expect(page.get_by_role("status").last).to_contain_text("Selected.")
    assert page.evaluate("getSelection().toString()") == name


def test_an_explanation_is_seen_whole_in_a_small_window(site: Site):
    page = site.page
    page.set_viewport_size({"width": 360, "height": 720})
    site.training()
    page.locator("#models .mlp-tipped button").first.focus()
    box = page.locator(".mlp-tip:popover-open").bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    page.keyboard.press("Escape")
    expect(page.locator(".mlp-tip:popover-open")).to_have_count(0)


def test_a_page_that_does_not_change_is_read_ever_more_rarely(site: Site):
    TrainingRun.objects.filter(pk=not_blessed().pk).update(status="running", progress=20)
    page = site.page
    page.clock.install()
    site.training()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for _ in range(60):  # ten minutes
        page.clock.run_for(10_000)
        page.wait_for_load_state("networkidle")
    assert 5 < len(asked) < 25
