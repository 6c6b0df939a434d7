"""The story of the incident, played in a browser to its end: seven everywhere."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.models import DeployedEndpoint, RegisteredModel, TrainingRun

if TYPE_CHECKING:
    from ml_platform.tests.browser.conftest import Site

pytestmark = pytest.mark.on_postgresql


def row(site: Site, part: str, name: str):
    """The line of a table that is about this name."""
    rows = site.page.locator(f"#{part} tbody tr")
    return rows.filter(has=site.page.get_by_role("rowheader", name=name))


def counts(site: Site) -> list[str]:
    """The number of models as each page tells it."""
    page = site.open("/")
    strip = page.locator(".mlp-plane-count").all_inner_texts()[:4]  # the fifth counts endpoints
    quiet = page.locator(".mlp-truth--quiet strong").all_inner_texts()[:4]
    first = page.locator("[data-live=assets] dd").first.inner_text().split()[0]
    card = page.locator("#projects dd").first.inner_text().split()[0]
    site.training()
    table = page.locator("[data-live=models-count]").inner_text().split()[0]
    lines = page.locator("#models tbody tr").count()
    figures = page.locator("[data-live=figures] dd").first.inner_text().split()[0]
    return [*(strip or quiet), first, card, table, str(lines), figures]


def press(site: Site, name: str | re.Pattern[str]) -> None:
    """Press a button and say yes to its question."""
    site.page.get_by_role("button", name=name).click()
    dialog = site.page.get_by_role("dialog")
    dialog.get_by_role("button").last.click()


def test_the_incident_is_seen_and_repaired_until_all_pages_count_seven(site: Site):
    page = site.page
    assert counts(site) == ["8", "8", "8", "9", *["8"] * 5]
    expect(row(site, "models", "chern_rank_v1").locator(".registry-missing")).to_have_text(
        "✕Not in Registry"
    )
    site.open("/registry-health/")
    for title in ("chern_rank_v1 points", "chern_hybrid_v2 was", "short-test-20260129 was"):
        page.get_by_role("link", name=f"Review: {title}").click()
        dialog = page.get_by_role("dialog")
        with site.work():
            dialog.get_by_role("button", name=title).click()
        expect(dialog).to_have_count(0)
        expect(page.get_by_role("article").filter(has_text=title)).to_have_count(0)
    for n in range(2):
        page.get_by_role("link", name="Review: trd-test").first.click()
        dialog = page.get_by_role("dialog")
        name = dialog.locator("label strong").inner_text()
        dialog.get_by_label("to delete it").fill(name)
        with site.work():
            dialog.get_by_role("button", name="Delete it").click()
        expect(page.get_by_role("article")).to_have_count(1 - n)
    page.get_by_role("button", name="Check now").click()
    page.wait_for_load_state()
    assert counts(site) == ["7", *["7"] * 5]
    site.open("/")
    expect(page.get_by_text("They agree")).to_be_visible()


def test_a_model_deleted_in_the_console_is_not_deployed_and_shown_as_missing(site: Site):
    page = site.training()
    name = "chern_hybrid_v3"
    lineage = RegisteredModel.objects.get(model_name=name)
    expect(row(site, "models", name).get_by_text("Verified")).to_be_visible()
    with page.context.new_page() as console:  # while the training page stays open
        console.goto(site.cloud.http_url)
        console.locator("tr", has_text=name).get_by_role("button").first.click()
        expect(console.locator("tr", has_text=name)).to_have_count(0)
    with site.work():
        press(site, f"Deploy {name} v1")
    expect(page.get_by_role("alert")).to_contain_text("Model not found in Vertex AI Model Registry")
    expect(row(site, "models", name)).to_have_count(0)
    assert site.cloud.effects.count("ModelService.UploadModel") == 0
    assert not DeployedEndpoint.objects.filter(registered_model=lineage, is_active=True).exists()
    site.sweep()
    assert set(counts(site)) == {"7", "8"}  # the two that only Vertex AI has, less the deleted one


def test_a_model_that_two_sweeps_miss_gets_the_badge_and_no_deploy(site: Site):
    name = "chern_retriv_v6"
    lineage = RegisteredModel.objects.get(model_name=name)
    vertex.delete_model(ModelName.parse(lineage.vertex_model_resource_name))
    site.sweep()
    page = site.training()
    expect(row(site, "models", name).locator(".mlp-badge--unknown")).to_contain_text("Unknown")
    site.sweep()
    page.reload()
    expect(row(site, "models", name).locator(".registry-missing")).to_be_visible()
    button = row(site, "models", name).get_by_role("button")
    expect(button).to_be_disabled()
    button.focus()
    expect(page.locator(".mlp-tip:visible")).to_contain_text("not in the Vertex AI Model Registry")


def test_a_deployed_version_is_not_deleted_until_it_is_undeployed(site: Site):
    name, service = "chern_hybrid_v1", "test-v1-hybrid"
    page = site.model(name)
    page.get_by_role("link", name="Delete v2").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Endpoint {service} is active. Undeploy it first.")
    expect(dialog.get_by_role("button")).to_have_count(0)
    page.keyboard.press("Escape")
    site.training()
    with site.work():
        press(site, f"Undeploy {service}")
    expect(row(site, "endpoints", service).get_by_text("Stopped")).to_be_visible()
    before = TrainingRun.objects.versions().count()
    site.model(name)
    page.get_by_role("link", name="Delete v2").click()
    expect(dialog).to_contain_text("v2 4 objects")
    expect(dialog).to_contain_text("Kept")
    dialog.get_by_label("to delete version 2").fill(name)
    with site.work():
        dialog.get_by_role("button", name="Delete version 2").click()
    expect(page.get_by_role("status").filter(has_text="deleted")).to_be_visible()
    expect(page.locator("#version-2 td").first).to_have_text("○Deleted")
    expect(page.locator("#version-1 td").first.locator(".mlp-badge")).to_have_text("✓Registered")
    assert TrainingRun.objects.versions().count() == before - 1
    site.training()
    line = row(site, "endpoints", service)
    expect(line.locator(".model-deleted")).to_have_text("!Model Deleted")
    expect(line.get_by_role("button", name="Deploy")).to_be_disabled()
    assert counts(site)[:3] == ["8", "8", "8"]


def test_the_last_version_ends_the_registration_on_every_page(site: Site):
    name = "chern_retriv_v2"
    site.model(name, "delete/?version=1")
    site.page.get_by_label("to delete version 1").fill(name)
    with site.work():
        site.page.get_by_role("button", name="Delete version 1").click()
    site.sweep()
    assert counts(site) == ["7", "7", "7", "8", *["7"] * 5]


def test_a_version_is_deployed_and_watched_to_its_end(site: Site):
    page = site.training()
    press(site, "Deploy chern_retriv_v6 v1")
    expect(page.get_by_role("status").filter(has_text="began to deploy")).to_be_visible()
    expect(row(site, "models", "chern_retriv_v6").get_by_text("Deploying")).to_be_visible()
    site.settle()
    expect(page.get_by_role("status").filter(has_text="ana deployed")).to_be_visible()
    expect(row(site, "models", "chern_retriv_v6").get_by_text("Deployed")).to_be_visible()
    page.get_by_role("link", name="Show it").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Deploy chern_retriv_v6 v1")
