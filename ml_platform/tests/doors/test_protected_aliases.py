"""Protected aliases at every door: what they keep from deletion, and who moves or removes them."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import Client

from ml_platform.cloud import vertex
from ml_platform.cloud.names import ModelName
from ml_platform.cloud.transport import channels
from ml_platform.errors import CloudAbsent
from ml_platform.models import Finding, Operation, RegisteredModel, TrainingRun
from ml_platform.models.clock import database_now
from ml_platform.models.states import Registration
from ml_platform.services.access.rights import Right, RightMissing
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.retry_cancel import retry_operation
from ml_platform.services.ownership.labels import labels_for
from ml_platform.services.registry.aliases import set_aliases
from ml_platform.services.registry.lineages import clear_pointer, sync_version_cache
from ml_platform.services.registry.protection import ProtectedAlias
from ml_platform.services.repairs.reconciliation import finish_operation, repair_finding
from ml_platform.services.repairs.unmanaged_models import delete_unmanaged_model
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.tests.services.vertex_rows import managed
from ml_platform.tests.services.world import ANA, no_pause, vertex_versions

from .api_tools import bearer, keeps_contract, member_of, post

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]
PROTECTED = ["champion", "production"]
MEMBER = (Right.VIEW, Right.TRAIN, Right.DEPLOY, Right.DELETE)
DELETES = ("ModelService.DeleteModel", "ModelService.DeleteModelVersion")


def finish(operation: Operation) -> Operation:
    finish_operation(operation=operation, clock=database_now, pause=no_pause)
    return operation


def version(lineage: RegisteredModel, number: int) -> TrainingRun:
    run: TrainingRun = lineage.training_runs.get(version=number)
    return run


def pointer(lineage: RegisteredModel, number: int) -> ModelName:
    return ModelName.parse(lineage.vertex_model_resource_name).at(str(number))


def give(lineage: RegisteredModel, number: int, alias: str) -> None:
    """Through our door, so that rows and Vertex AI have it."""
    made = set_aliases(
        run=version(lineage, number),
        add=[alias],
        actor=ANA,
        now=database_now(),
        administers=True,
    )
    assert finish(made).status == "succeeded"


def delete(lineage: RegisteredModel, *numbers: int) -> Operation:
    runs = [version(lineage, number) for number in numbers]
    return delete_versions(lineage=lineage, runs=runs, actor=ANA, now=database_now())


def deleted(cloud: LocalCloud) -> int:
    return sum(cloud.effects.count(method) for method in DELETES)


def page_of(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


# ---- deletion ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alias", PROTECTED)
@pytest.mark.parametrize("numbers", [[1], [1, 2]], ids=["the version", "the whole model"])
def test_the_api_plans_and_refuses(cloud: LocalCloud, alias: str, numbers: list[int]) -> None:
    lineage = managed(cloud, versions=2)
    give(lineage, 1, alias)
    ana = bearer(member_of(lineage.project, *MEMBER, name="ana"))
    path = f"/api/models/{lineage.pk}/delete/"
    plan = post(ana, f"{path}?dry_run=true", {"versions": numbers})
    keeps_contract(plan, "/api/models/{model_id}/delete/", "post")
    [block] = plan.json()["blocks"]
    assert block["code"] == "protected_alias"
    assert block["message"] == (
        f"{lineage.model_name} v1 holds the protected alias {alias}. "
        "Move or remove the alias first."
    )
    refused = post(ana, path, {"versions": numbers})
    keeps_contract(refused, "/api/models/{model_id}/delete/", "post")
    assert (refused.status_code, refused.json()["code"]) == (409, "protected_alias")
    assert refused.json()["advice"] == "Move or remove the alias first."
    assert Operation.objects.filter(kind="delete", status="failed").count() == 1  # the refusal
    assert (deleted(cloud), version(lineage, 1).registration) == (0, Registration.REGISTERED)
    sibling = post(ana, path, {"versions": [2]})
    assert sibling.status_code == 202


def test_the_page_shows_why_and_refuses(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    give(lineage, 1, "champion")
    ana = page_of(member_of(lineage.project, *MEMBER))
    url = f"/models/{lineage.pk}/delete/"
    model = ana.get(f"/models/{lineage.pk}/").content.decode()
    why = "v1 holds the protected alias champion. Move or remove the alias first."
    assert f'aria-disabled="true" aria-label="Delete v1: {why}"' in model
    assert f'aria-disabled="true" aria-label="Delete all: {why}"' in model
    assert f'href="{url}?version=2"' in model
    assert f'href="{url}?version=1"' not in model
    plan = ana.get(f"{url}?version=1").content.decode()
    assert "It cannot be deleted now" in plan
    assert why in plan
    form = {"name": lineage.model_name, "version": "1", "run": version(lineage, 1).pk}
    refused = ana.post(url, form)
    assert refused.status_code == 409
    assert "Move or remove the alias first." in refused.content.decode()
    assert deleted(cloud) == 0


@pytest.mark.parametrize("alias", ["Champion", "champions", "champion-2", "golden", "default"])
def test_only_exactly_these_aliases_protect(cloud: LocalCloud, alias: str) -> None:
    lineage = managed(cloud, versions=2)
    TrainingRun.objects.filter(version=2).update(aliases=[alias])
    assert finish(delete(lineage, 2)).status == "succeeded"


@pytest.mark.slow
def test_the_setting_names_others_or_none(cloud: LocalCloud, settings: Any) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "PROTECTED_ALIASES": ["golden"]}
    lineage = managed(cloud, versions=3)
    give(lineage, 1, "golden")
    give(lineage, 2, "champion")
    with pytest.raises(ProtectedAlias):
        delete(lineage, 1)
    assert finish(delete(lineage, 2)).status == "succeeded"
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "PROTECTED_ALIASES": []}
    assert finish(delete(lineage, 1)).status == "succeeded"


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [[1], [1, 2, 3]], ids=["the version", "the whole model"])
def test_an_alias_of_the_console_is_seen_before_anything_goes(
    cloud: LocalCloud, numbers: list[int]
) -> None:
    """It is in no row of ours; the deletion's check reads Vertex AI, and the plan knows then."""
    lineage = managed(cloud, versions=3)
    vertex.merge_version_aliases(pointer(lineage, 1), ["champion"])
    operation = finish(delete(lineage, *numbers))
    assert (operation.status, operation.error_code) == ("failed", "protected_alias")
    assert operation.advice == "Move or remove the alias first."
    assert deleted(cloud) == 0
    assert {run.registration for run in lineage.training_runs.all()} == {Registration.REGISTERED}
    assert version(lineage, 1).aliases == ["champion"]
    with pytest.raises(ProtectedAlias):
        delete(lineage, 1)
    again = retry_operation(operation=operation, actor=ANA)
    assert finish(again).error_code == "protected_alias"
    vertex.merge_version_aliases(pointer(lineage, 1), ["-champion"])
    assert finish(retry_operation(operation=operation, actor=ANA)).status == "succeeded"


def test_an_alias_that_comes_between_two_versions_keeps_the_second(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineage = managed(cloud, versions=3)
    operation = delete(lineage, 1, 2)
    given: list[str] = []

    def champion(method: str) -> None:
        if method == "ModelService.DeleteModelVersion" and not given:
            given.append(method)
            vertex.merge_version_aliases(pointer(lineage, 1), ["champion"])

    monkeypatch.setattr(channels, "before_call", [champion])
    finish(operation)
    assert (operation.status, operation.error_code) == ("failed", "protected_alias")
    assert sorted(vertex_versions(lineage)) == ["1", "3"]
    assert version(lineage, 1).registration == Registration.REGISTERED


def test_a_copy_that_a_deletion_would_take_protects_its_run(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    run = version(lineage, 1)
    vertex.upload_model(
        display_name=lineage.model_name,
        artifact_uri=f"{run.gcs_artifacts_path}pushed_model/1",
        serving_image="image",
        labels=labels_for(lineage=lineage.uid, run=run.uid),
        parent_model=pointer(lineage, 1).bare,
        aliases=["production"],
    )
    operation = finish(delete(lineage, 1))
    assert (operation.status, operation.error_code) == ("failed", "protected_alias")
    assert deleted(cloud) == 0


@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED"])
def test_aliases_that_cannot_be_read_delete_nothing(
    cloud: LocalCloud, settings: Any, code: str
) -> None:
    settings.ML_PLATFORM = {**settings.ML_PLATFORM, "CALL_TIMEOUT": 0.3, "RETRY_TIMEOUT": 0.0}
    lineage = managed(cloud)
    cloud.faults.order("ModelService.ListModelVersions", "error", code=code, times=None)
    finish_operation(operation=delete(lineage, 1), clock=database_now, patience=0)
    assert deleted(cloud) == 0
    assert version(lineage, 1).registration != Registration.DELETED


# ---- repairs -------------------------------------------------------------------------------------


def surplus_with(cloud: LocalCloud, *aliases: str) -> RegisteredModel:
    lineage = managed(cloud, versions=2)
    run = version(lineage, 1)
    vertex.upload_model(
        display_name=lineage.model_name,
        artifact_uri=f"{run.gcs_artifacts_path}pushed_model/1",
        serving_image="image",
        labels=labels_for(lineage=lineage.uid, run=run.uid),
        parent_model=pointer(lineage, 1).bare,
        aliases=aliases,
    )
    sweep(actor=ANA, clock=database_now)
    return lineage


@pytest.mark.slow
def test_reconciling_leaves_a_surplus_version_with_a_protected_alias(cloud: LocalCloud) -> None:
    lineage = surplus_with(cloud, "champion")
    told = io.StringIO()
    with suppress(SystemExit):
        call_command("reconcile_registry", "--yes", stdout=told, stderr=told)
    assert "holds the protected alias champion" in " ".join(told.getvalue().split())
    assert deleted(cloud) == 0
    finding = Finding.objects.open().get(kind=FindingKind.SURPLUS_VERSION)
    give(lineage, 1, "champion")  # taken from the surplus version
    repaired = finish(repair_finding(finding=finding, actor=ANA, now=database_now()))
    assert repaired.status == "succeeded"
    assert sorted(vertex_versions(lineage)) == ["1", "2"]


def test_a_model_of_nothing_but_surplus_with_a_protected_alias_stays(cloud: LocalCloud) -> None:
    lineage = managed(cloud)
    run = version(lineage, 1)
    vertex.merge_version_aliases(pointer(lineage, 1), ["production"])
    with transaction.atomic():
        clear_pointer(run=run, registration=Registration.DELETED)
    sync_version_cache(registered_model=lineage)
    sweep(actor=ANA, clock=database_now)
    finding = Finding.objects.open().get(kind=FindingKind.SURPLUS_VERSION)
    operation = finish(repair_finding(finding=finding, actor=ANA, now=database_now()))
    assert (operation.status, operation.error_code) == ("failed", "protected_alias")
    assert deleted(cloud) == 0


def test_a_model_of_nobody_with_a_protected_alias_stays(cloud: LocalCloud) -> None:
    versions: list[dict[str, Any]] = [{"version": 1, "aliases": ["champion"]}, {"version": 2}]
    name = cloud.models.seed("77", display_name="theirs", versions=versions)
    operation = finish(delete_unmanaged_model(resource_name=name, actor=ANA, now=database_now()))
    assert (operation.status, operation.error_code) == ("failed", "protected_alias")
    assert deleted(cloud) == 0


# ---- who moves them ------------------------------------------------------------------------------


def ask(client: Client, lineage: RegisteredModel, number: int, **body: Any) -> Any:
    return post(client, f"/api/models/{lineage.pk}/versions/{number}/aliases/", body)


def test_a_member_gives_one_that_nobody_has_and_takes_none(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    member = bearer(member_of(lineage.project, *MEMBER, name="ana"))
    first = ask(member, lineage, 1, add=["champion"])
    assert first.status_code == 202
    assert finish(Operation.objects.get(pk=first.json()["id"])).status == "succeeded"
    for number, body in (
        (2, {"add": ["champion"]}),
        (1, {"remove": ["champion"]}),
        (2, {"add": ["golden", "champion"]}),
    ):
        refused = ask(member, lineage, number, **body)
        keeps_contract(refused, "/api/models/{model_id}/versions/{version}/aliases/", "post")
        assert (refused.status_code, refused.json()["code"]) == (403, "right_missing")
        assert str(Right.ADMINISTER) in refused.json()["detail"]
    for number, body in (
        (1, {"add": ["champion", "golden"]}),  # it has it
        (2, {"remove": ["champion"]}),  # it has it not
        (2, {"add": ["golden"]}),
    ):
        operation = Operation.objects.get(pk=ask(member, lineage, number, **body).json()["id"])
        assert finish(operation).status == "succeeded"
    assert vertex_versions(lineage) == {"1": ("champion",), "2": ("default", "golden")}


def test_an_administrator_moves_and_removes_them(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    root = bearer(member_of(lineage.project, name="ana"))
    member = member_of(lineage.project, *MEMBER, name="bo")
    for number, body in ((1, {"add": PROTECTED}), (2, {"add": ["champion"]})):
        operation = Operation.objects.get(pk=ask(root, lineage, number, **body).json()["id"])
        assert finish(operation).status == "succeeded"
    assert version(lineage, 1).aliases == ["production"]
    assert version(lineage, 2).aliases == ["champion", "default"]
    cloud.faults.order("ModelService.MergeVersionAliases", "error", code="INVALID_ARGUMENT")
    failed = Operation.objects.get(pk=ask(root, lineage, 1, remove=["production"]).json()["id"])
    assert finish(failed).status == "failed"
    refused = post(bearer(member), f"/api/operations/{failed.pk}/retry/")
    assert (refused.status_code, refused.json()["code"]) == (403, "right_missing")
    assert post(root, f"/api/operations/{failed.pk}/retry/").status_code == 202
    assert finish(failed).status == "succeeded"
    assert version(lineage, 1).aliases == []


def test_who_has_it_in_vertex_ai_counts_too(cloud: LocalCloud) -> None:
    """By our rows nobody has it; it was given in the console, to a version of ours and to none."""
    lineage = managed(cloud, versions=2)
    vertex.merge_version_aliases(pointer(lineage, 1), ["champion"])
    changes: list[tuple[int, Any]] = [(2, {"add": ["champion"]}), (1, {"remove": ["champion"]})]
    for number, change in changes:
        operation = finish(
            set_aliases(run=version(lineage, number), actor=ANA, now=database_now(), **change)
        )
        assert (operation.status, operation.error_code) == ("failed", "right_missing")
    assert "champion" in vertex_versions(lineage)["1"]
    with pytest.raises(CloudAbsent):
        vertex.get_model(pointer(lineage, 1).bare.at("production"))
    given = set_aliases(run=version(lineage, 2), add=["production"], actor=ANA, now=database_now())
    assert finish(given).status == "succeeded"


def test_the_page_moves_one_for_administrators_only(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    give(lineage, 1, "champion")
    run = version(lineage, 2)
    form = {"aliases": "default champion", "was": "default", "key": "k"}
    member = page_of(member_of(lineage.project, *MEMBER))
    asked = member.get(f"/do/alias-run/{run.pk}/").content.decode()
    assert "Only an administrator moves or removes champion, production" in asked
    refused = member.post(f"/do/alias-run/{run.pk}/", form)
    assert refused.status_code == 403
    assert str(Right.ADMINISTER) in refused.content.decode()
    root = page_of(member_of(lineage.project))
    assert "Only an administrator" not in root.get(f"/do/alias-run/{run.pk}/").content.decode()
    assert root.post(f"/do/alias-run/{run.pk}/", form).status_code == 302
    moved = Operation.objects.get(idempotency_key__endswith=":k")
    assert finish(moved).status == "succeeded"
    assert vertex_versions(lineage) == {"1": (), "2": ("default", "champion")}


def test_a_caller_who_says_nothing_of_rights_has_none(cloud: LocalCloud) -> None:
    lineage = managed(cloud, versions=2)
    give(lineage, 1, "champion")
    with pytest.raises(RightMissing):
        set_aliases(run=version(lineage, 2), add=["champion"], actor=ANA, now=database_now())
    refusal = Operation.objects.filter(kind="alias", status="failed").get()
    assert "protected alias champion" in refusal.error
