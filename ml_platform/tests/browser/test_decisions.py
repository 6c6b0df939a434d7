"""What a person decides with: what a deploy replaces, what an operation waits for, the forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from ml_platform.models import Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.states import RunStatus

if TYPE_CHECKING:
    from .conftest import Site

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.any_database]


def test_a_deploy_says_what_it_replaces_and_a_rollback_names_its_version(site: Site):
    page = site.model("chern_retriv_v5")
    expect(page.get_by_role("link", name="v5 on test-v1-retriv")).to_be_visible()
    page.get_by_role("button", name="Deploy chern_retriv_v5 v4").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("test-v1-retriv serves v5 now.")
    expect(dialog).to_contain_text("⚠ Recall@100 0.404 is worse than the 0.415 of v5.")
    with site.work():
        dialog.get_by_role("button").last.click()
    expect(page.get_by_role("link", name="v4 on test-v1-retriv")).to_be_visible()
    expect(page.get_by_role("heading", name="Where v4 comes from")).to_be_visible()
    site.training()
    page.get_by_role("button", name="Roll test-v1-retriv back to v5").click()
    expect(dialog).to_contain_text("is better than the 0.404 of v4.")


def test_a_refused_press_leads_to_what_holds_it(site: Site):
    page = site.training()
    other = site.another_browser().new_page()
    other.goto(page.url)
    for one in (page, other):
        one.get_by_role("button", name="Undeploy test-v1-rank", exact=True).click()
    page.get_by_role("dialog").get_by_role("button").last.click()
    expect(page.get_by_role("status").first).to_be_visible()
    other.get_by_role("dialog").get_by_role("button").last.click()
    expect(other.get_by_role("alert")).to_contain_text("is held by Undeploy test-v1-rank")
    other.goto(page.url)
    expect(other.locator("#endpoints tr", has_text="test-v1-rank").first).to_contain_text(
        "Undeploying"
    )
    other.context.close()


def test_an_operation_shows_the_steps_before_it_and_leads_back_to_its_finding(site: Site):
    finding = Finding.objects.get(kind="stale_pointer")
    page = site.open(f"/registry-health/findings/{finding.pk}/")
    page.get_by_role("button", name="Clear the pointers").click()
    page.wait_for_url("**/operations/**")
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Clear the stale pointers of chern_rank_v1"
    )
    steps = page.get_by_role("listitem")
    expect(steps.filter(has_text="End the finding")).to_contain_text("Waiting")
    current = page.get_by_role("navigation", name="ML platform").locator("[aria-current]")
    expect(current).to_have_text("Operations")
    site.settle()
    expect(steps.filter(has_text="End the finding")).to_contain_text("The finding is repaired.")
    page.get_by_role("link", name="Finding: chern_rank_v1").click()
    expect(page.get_by_text("Repaired")).to_be_visible()


def test_one_that_waits_names_what_it_waits_for(site: Site):
    lineage = RegisteredModel.objects.get(model_name="chern_rank_v3")
    lock = {"lineage": lineage, "lineage_key": f"{lineage.project_id}:{lineage.model_name}"}
    rest = {**lock, "project": lineage.project, "actor_label": "bob", "origin": "api"}
    Operation.objects.create(
        kind="deploy", status="running", subject_name="chern_rank_v3 v1", step="wait", **rest
    )
    waiting = Operation.objects.create(
        kind="register", status="pending", subject_name="chern_rank_v3 run 9",
        step="find_artifacts", **rest,
    )  # fmt: skip
    page = site.open(f"/operations/{waiting.pk}/")
    link = page.get_by_role(
        "link", name="It waits for another operation: chern_rank_v3 run 9 is held by"
    )
    expect(link).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="Upload to Vertex AI")).to_contain_text(
        "Waiting"
    )
    link.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Deploy chern_rank_v3 v1")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_run_is_made_submitted_and_deleted_from_the_page(site: Site, scripts: bool):
    context = site.another_browser(java_script_enabled=scripts)
    page = context.new_page()
    page.goto(site.training().url)
    page.get_by_role("link", name="New run").click()
    page.get_by_label("Model name").fill("chern_new_v1")
    page.get_by_label("Parameters").fill('{"nope": 1}')
    page.get_by_role("button", name="Save for later").click()
    expect(page.get_by_label("Parameters")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Parameters").fill("{}")
    page.get_by_role("button", name="Save for later").click()
    page.wait_for_url("**/training/#run-*")
    run = TrainingRun.objects.get(model_name="chern_new_v1")
    assert run.status == RunStatus.PENDING
    page.get_by_role("button", name=f"Cancel run {run.pk} of").click()
    if scripts:
        page.get_by_role("dialog").get_by_role("button").last.click()
        expect(page.locator(f"#run-{run.pk}")).to_contain_text("Cancelled")
    else:
        page.wait_for_url("**/operations/**")
        page.go_back()
        page.reload()
    page.get_by_role("button", name=f"More for run {run.pk}").click()
    page.get_by_role("button", name=f"Delete run {run.pk} of").click()
    if scripts:
        page.get_by_role("dialog").get_by_role("button").last.click()
        expect(page.locator(f"#run-{run.pk}")).to_have_count(0)
    else:
        page.wait_for_url("**/operations/**")
    assert not TrainingRun.objects.filter(pk=run.pk).exists()
    context.close()


def test_an_alias_moves_to_another_version_and_the_open_menu_passes_axe(site: Site):
    page = site.model("chern_retriv_v5")
    page.get_by_role("link", name="Change the aliases of chern_retriv_v5 v4").click()
    page.get_by_label("Its aliases").fill("default")
    with site.work():
        page.get_by_role("button", name="Change aliases").click()
    expect(page.locator("#version-4")).to_contain_text("default")
    expect(page.locator("#version-5")).not_to_contain_text("default")
    site.training()
    page.get_by_role("button", name="More for run").first.click()
    expect(page.get_by_role("link", name="Schedule this training")).to_be_visible()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
