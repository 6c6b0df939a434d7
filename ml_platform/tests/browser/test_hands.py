"""What hands and networks do to the pages: double clicks, two windows, no answer, no script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from ml_platform.models import (
    DeployedEndpoint,
    Operation,
    RegisteredModel,
    TrainingRun,
    TrainingSchedule,
)
from ml_platform.models.clock import database_now
from ml_platform.models.states import EndpointState, RegistryState
from ml_platform.tests.browser.conftest import under_a_strict_policy

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request

    from ml_platform.tests.browser.conftest import Site

pytestmark = pytest.mark.on_postgresql

EVIL = "<img src=x onerror=alert(1)>"
DEPLOY = "Deploy chern_retriv_v6 v1"


def yes(site: Site):
    """The button of the open dialog that goes on."""
    return site.page.get_by_role("dialog").get_by_role("button").last


def opened(site: Site) -> int:
    """How many operations there are after everything on its way has arrived."""
    site.page.wait_for_load_state("networkidle")
    return Operation.objects.count()


def sent_by(page: Page, method: str = "POST", part: str = "") -> list[str]:
    """The requests of that kind that a page sends from now on; the list grows."""
    sent: list[str] = []

    def note(request: Request) -> None:
        if request.method == method and part in request.url:
            sent.append(request.url)

    page.on("request", note)
    return sent


def test_a_double_click_is_one_click(site: Site):
    before = Operation.objects.count()
    page = site.training()
    sent = sent_by(page)
    page.get_by_role("button", name=DEPLOY).dblclick()
    expect(page.get_by_role("dialog")).to_have_count(1)
    with site.work():
        yes(site).dblclick()
    assert len(sent) == 1
    assert opened(site) == before + 1


def test_a_double_click_on_a_button_that_asks_nothing_is_sent_once(site: Site):
    page = site.training()
    sent = sent_by(page)
    with site.work():
        page.get_by_role("button", name="Pause: Retrieval, every night").dblclick()
    expect(page.get_by_role("button", name="Resume: Retrieval, every night")).to_be_visible()
    assert len(sent) == 1
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_double_click_without_scripts_is_one_operation(site: Site):
    context = site.another_browser(java_script_enabled=False)
    before = Operation.objects.count()
    page = context.new_page()
    page.goto(site.training().url)
    page.get_by_role("button", name=DEPLOY).dblclick()
    page.wait_for_url("**/operations/*/")
    expect(page.get_by_role("heading", level=1)).to_contain_text(DEPLOY)
    assert Operation.objects.count() == before + 1
    context.close()


def test_without_scripts_every_page_reads_and_a_deletion_is_a_form(site: Site):
    context = site.another_browser(java_script_enabled=False)
    page = context.new_page()
    site.model("chern_rank_v3")
    page.goto(site.page.url)
    page.get_by_role("link", name="Delete v1").click()
    page.get_by_label("to delete version 1").fill("chern_rank_v3")
    page.get_by_role("button", name="Delete version 1").click()
    page.wait_for_url("**/operations/*/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete chern_rank_v3 v1")
    context.close()


def test_two_windows_the_second_stops_early_and_shows_the_news(site: Site):
    page = site.training()
    other = page.context.new_page()
    under_a_strict_policy(other)
    other.goto(page.url)
    before = Operation.objects.count()
    page.get_by_role("button", name=DEPLOY).click()
    with site.work():
        yes(site).click()
    expect(page.get_by_role("status").filter(has_text="ana deployed")).to_be_visible()
    other.get_by_role("button", name=DEPLOY).click()
    other.get_by_role("dialog").get_by_role("button").last.click()
    expect(other.get_by_role("alert")).to_contain_text("serves v1 already")
    line = other.locator("#models tr", has_text="chern_retriv_v6")
    expect(line.get_by_text("Deployed")).to_be_visible()
    assert opened(site) == before + 1


def test_an_endpoint_whose_model_went_meanwhile_is_not_deployed(site: Site):
    service = "test-v1-rank-v3"
    page = site.training()
    DeployedEndpoint.objects.filter(service_name=service).update(model_deleted=True)
    before = Operation.objects.count()
    page.get_by_role("button", name=f"Deploy v1 to {service}").click()
    yes(site).click()
    expect(page.get_by_role("alert")).to_contain_text(
        "The model was deleted; this endpoint cannot be restored."
    )
    line = page.locator("#endpoints tr", has_text=service)
    expect(line.locator(".model-deleted")).to_be_visible()
    assert opened(site) == before


def test_a_failing_network_is_told_and_pressing_again_does_it_once(site: Site):
    # A page of its own: Chromium writes a refused connection into the console.
    context = site.another_browser()
    page = context.new_page()
    page.goto(site.training().url)
    before = Operation.objects.count()
    lost: list[int] = []

    def lose_the_answer(route):
        if route.request.method != "POST" or lost:
            return route.fallback()
        lost.append(route.fetch(max_redirects=0).status)
        return route.abort("connectionreset")

    page.route("**/do/**", lose_the_answer)
    page.route("**/training/", lambda route: route.abort("connectionreset"))  # no fresh page either
    button = page.get_by_role("button", name=DEPLOY)
    for press in range(2):
        button.click()
        page.get_by_role("dialog").get_by_role("button").last.click()
        if not press:
            expect(page.get_by_role("alert")).to_contain_text("The server did not answer. Press")
    expect(page.get_by_role("alert").last).to_be_visible()
    page.wait_for_timeout(500)
    assert lost == [202]
    assert Operation.objects.count() == before + 1
    context.close()


def test_nothing_is_asked_while_the_page_is_hidden_and_it_resumes(site: Site):
    page = site.training()
    asked = sent_by(page, "GET", "/status/")
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => window.asleep === true})")
    page.get_by_role("button", name=DEPLOY).click()
    before = Operation.objects.count()
    yes(site).click()
    expect(page.get_by_role("status")).to_contain_text("began to deploy")
    page.evaluate("window.asleep = true")
    page.wait_for_timeout(1500)
    seen = len(asked)
    site.settle()
    page.wait_for_timeout(2500)
    assert len(asked) <= seen + 1
    page.evaluate("window.asleep = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.get_by_role("status").filter(has_text="ana deployed")).to_be_visible()
    count = len(asked)
    page.wait_for_timeout(1500)
    assert len(asked) == count  # it has ended, so nobody asks any more
    assert Operation.objects.count() == before + 1


def test_an_operation_page_moves_by_itself_and_stops_asking(site: Site):
    page = site.training()
    page.get_by_role("button", name=DEPLOY).click()
    with site.page.expect_response(lambda answer: answer.request.method == "POST") as answer:
        yes(site).click()
    site.open(answer.value.json()["url"])
    expect(page.locator("[data-live=head] .mlp-badge")).to_have_text("↻Running")
    site.settle()
    expect(page.locator("[data-live=head] .mlp-badge")).to_have_text("✓Succeeded")
    expect(page.locator(".mlp-step").last).to_contain_text("Done")
    expect(page.locator("[data-watch]")).to_have_count(0)


def test_the_keyboard_alone_deploys_and_comes_back_to_its_place(site: Site):
    page = site.training()
    button = page.get_by_role("button", name=DEPLOY)
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(button).to_be_focused()
    before = Operation.objects.count()
    page.keyboard.press("Enter")
    with site.work():
        page.keyboard.press("Enter")
    assert opened(site) == before + 1
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()


def test_filters_apply_themselves_and_the_address_keeps_them(site: Site):
    page = site.training()
    page.locator("select[name=type]").select_option("hybrid")
    page.wait_for_url("**type=hybrid**")
    assert page.locator("#models tbody tr").count() == 2
    page.get_by_role("searchbox").fill("_v3")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=_v3**")
    assert page.locator("#models tbody tr").count() == 1
    page.get_by_role("link", name="Clear").click()
    expect(page.locator("#models tbody tr")).to_have_count(8)


def test_hostile_names_are_text_in_toasts_and_dialogs_too(site: Site):
    TrainingSchedule.objects.filter(state="active").update(name=EVIL)
    TrainingRun.objects.update(error=EVIL, stage=EVIL)
    DeployedEndpoint.objects.filter(state=EndpointState.INACTIVE).update(error=EVIL)
    page = site.training()
    page.get_by_role("button", name=f"Train now: {EVIL}").click()
    expect(page.get_by_role("dialog")).to_contain_text(f"beside {EVIL}?")
    page.keyboard.press("Escape")
    page.get_by_role("button", name=f"Pause: {EVIL}").click()
    expect(page.get_by_role("status").first).to_contain_text(EVIL)
    RegisteredModel.objects.filter(model_name="chern_rank_v3").update(
        model_name="x", description=EVIL
    )
    site.model("x")
    expect(page.get_by_text(EVIL).first).to_be_visible()
    assert page.locator("img").count() == 0


def test_axe_finds_no_violation_in_dialogs_toasts_and_every_state(site: Site):
    page = site.page
    schemes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
    DeployedEndpoint.objects.filter(state=EndpointState.INACTIVE).update(model_deleted=True)
    RegisteredModel.objects.filter(model_name="chern_rank_v3").update(
        registry_state=RegistryState.SUSPECTED
    )
    TrainingRun.objects.filter(status="cancelled").update(status="running", progress=40)

    def check(what: str) -> None:
        for scheme in schemes:
            # Without motion, because a color that is still changing has no contrast to judge.
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found = Axe().run(page)
            assert found.violations_count == 0, f"{what} {scheme}\n{found.generate_report()}"

    site.training()
    check("training page")
    page.get_by_role("button", name=DEPLOY).click()
    check("question")
    yes(site).click()
    expect(page.get_by_role("status")).to_be_visible()
    check("toast")
    site.model("chern_retriv_v5")
    check("model page")
    page.get_by_role("link", name="Delete v5").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check("blocked plan")
    site.model("chern_rank_v4", "delete/?version=1")
    check("plan page")
    site.open("/registry-health/")
    page.get_by_role("link", name="Review: trd-test").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check("choice")


def test_nothing_is_wider_than_a_small_window_with_dialogs_open(site: Site):
    page = site.page
    page.set_viewport_size({"width": 360, "height": 720})

    def width() -> int:
        wide: int = page.evaluate("document.documentElement.scrollWidth")
        return wide

    site.training()
    assert width() == 360
    page.get_by_role("button", name=DEPLOY).click()
    assert width() == 360
    page.keyboard.press("Escape")
    site.model("chern_retriv_v5")
    assert width() == 360
    page.get_by_role("link", name="Delete v1").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert width() == 360


def test_what_ends_while_one_looks_at_a_list_is_shown_there(site: Site):
    now = database_now()
    operation = Operation.objects.create(
        workflow="clean-up-orphans", kind="cleanup", status="running", subject_name="names",
        actor_label="timer",
        origin="scheduler", created_at=now, started_at=now, step="sweep",
    )  # fmt: skip
    page = site.open("/operations/?status=live")
    expect(page.get_by_text("timer began to clean up names")).to_be_visible()
    Operation.objects.filter(pk=operation.pk).update(status="succeeded", finished_at=now)
    expect(page.get_by_text("No operations match.")).to_be_visible()


def test_a_runs_stage_and_progress_move_without_a_reload(site: Site):
    run = TrainingRun.objects.order_by("-created_at").first()
    assert run
    moving = TrainingRun.objects.filter(pk=run.pk)
    moving.update(status="running", stage="transform", progress=20)
    page = site.training()
    line = page.locator(f"#run-{run.pk}")
    expect(line).to_contain_text("transform")
    moving.update(stage="evaluate", progress=80)
    expect(line).to_contain_text("evaluate", timeout=30_000)
    expect(line.get_by_role("progressbar")).to_have_attribute("value", "80")
