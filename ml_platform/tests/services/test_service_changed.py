"""What people change of ours on Cloud Run is found, field by field, and repaired both ways.

People act as in the console: "Edit & deploy new revision" is UpdateService, and our labels stay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud import cloud_run
from ml_platform.cloud.types import Ingress
from ml_platform.models import DeployedEndpoint, Event, Finding, Operation
from ml_platform.models.states import EventKind, FindingStatus
from ml_platform.services.deletion.delete import delete_versions
from ml_platform.services.findings.kinds import FindingKind
from ml_platform.services.operations.engine import advance
from ml_platform.services.repairs.reconciliation import NoRepair, repair_finding, repairs_of
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.sweeps.sweep import sweep
from ml_platform.services.workflows import WORKFLOWS

from .deploy_tools import deploy, deployed, finish, service_of
from .people import edit_service, see_service
from .test_others_changes import PINNED, container, drop_env, set_all_that_is_theirs, set_env
from .world import ANA, Clock

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.any_database]
ACCOUNT = "ours@demo-project.iam.gserviceaccount.com"
THEIRS = "theirs@demo-project.iam.gserviceaccount.com"
CONFIG = ServingConfig(
    image="ours:1",
    env={"LOG": "info", "MODE": "fast"},
    ingress=Ingress.INTERNAL,
    service_account=ACCOUNT,
)
Change = Callable[[Any], Any]


def limit(**limits: str) -> Change:
    return lambda service: container(service).resources.limits.update(limits)


def from_secret(service: Any) -> None:
    kept = [one for one in container(service).env if one.name != "MODE"]
    source = {"secret_key_ref": {"secret": "mode", "version": "latest"}}
    container(service).env = [*kept, {"name": "MODE", "value_source": source}]


EXPRESSIBLE: Mapping[str, tuple[Change, str, Mapping[str, Any]]] = {
    "image": (
        lambda s: setattr(container(s), "image", "by-hand"),
        "image is by-hand, not ours:1",
        {"image": "by-hand"},
    ),
    "cpu": (limit(cpu="2000m"), "cpu is 2000m, not 1", {"cpu": "2"}),
    "memory": (limit(memory="4096Mi"), "memory is 4096Mi, not 2Gi", {"memory": "4Gi"}),
    "scaling": (
        lambda s: setattr(
            s.template, "scaling", {"min_instance_count": 1, "max_instance_count": 9}
        ),
        "min_instances is 1, not 0; max_instances is 9, not 1",
        {"min_instances": 1, "max_instances": 9},
    ),
    "concurrency": (
        lambda s: setattr(s.template, "max_instance_request_concurrency", 7),
        "concurrency is 7, not 80",
        {"concurrency": 7},
    ),
    "timeout": (
        lambda s: setattr(s.template, "timeout", {"seconds": 9}),
        "timeout_seconds is 9, not 300",
        {"timeout_seconds": 9},
    ),
    "ingress": (
        lambda s: setattr(s, "ingress", "INGRESS_TRAFFIC_ALL"),
        "ingress is all, not internal",
        {"ingress": "all"},
    ),
    "account": (
        lambda s: setattr(s.template, "service_account", THEIRS),
        f"service_account is {THEIRS}, not {ACCOUNT}",
        {"service_account": THEIRS},
    ),
    "env": (
        lambda s: set_env(s, "LOG", "hidden!"),
        "env LOG is changed",
        {"env": {"LOG": "hidden!", "MODE": "fast"}},
    ),
    "env removed": (
        lambda s: drop_env(s, "LOG"),
        "env LOG is removed",
        {"env": {"MODE": "fast"}},
    ),
}
"""What a person changes, how the finding says it, and what a configuration then has."""
NOT_EXPRESSIBLE: Mapping[str, tuple[Change, str, str]] = {
    "port": (
        lambda s: setattr(container(s).ports[0], "container_port", 9090),
        "port is 9090, not 8080",
        "no setting can say",
    ),
    "unlimited": (
        lambda s: setattr(s.template, "scaling", {"max_instance_count": 1001}),
        "max_instances is 1001, not 1",
        "max_instances is 1001.",
    ),
    "secret": (from_secret, "env MODE is changed", "no setting can say"),
    "other files": (
        lambda s: set_env(s, "AIP_STORAGE_URI", "gs://somewhere/else"),
        "env AIP_STORAGE_URI is changed",
        "of no registered version of this model",
    ),
    "route": (
        lambda s: set_env(s, "AIP_PREDICT_ROUTE", "/v1"),
        "env AIP_PREDICT_ROUTE is changed",
        "no setting can say",
    ),
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def endpoint(cloud: LocalCloud, clock: Clock) -> DeployedEndpoint:
    """An endpoint in order, which serves the first of two versions."""
    found, _ = deployed(cloud, clock, versions=2, config=CONFIG)
    assert look(clock) == []
    return found


def look(clock: Clock) -> list[str]:
    clock.forward(60)
    sweep(actor=ANA, clock=clock)
    found = Finding.objects.open().exclude(kind=FindingKind.ORPHAN)
    return list(found.values_list("kind", flat=True))


def found_after(endpoint: DeployedEndpoint, clock: Clock, change: Change, told: str) -> Finding:
    """The one finding of the next sweep after a person changed the service."""
    edit_service(endpoint.service_name, change)
    # Other files than those of a version are unverified too.
    assert set(look(clock)) - {"serving_unverified"} == {"service_changed"}
    finding = Finding.objects.open().get(kind="service_changed")
    assert "; ".join(finding.evidence["changed"]) == told
    assert told in finding.title
    assert "hidden!" not in f"{finding.title}{finding.evidence}"
    return finding


def repair(finding: Finding, how: str, clock: Clock) -> Operation:
    operation = finish(repair_finding(finding=finding, repair=how, actor=ANA, now=clock()), clock)
    finding.refresh_from_db()
    return operation


def ours(endpoint: DeployedEndpoint) -> dict[str, Any]:
    """The service, without what each revision has of its own."""
    shown = see_service(endpoint.service_name)
    told: dict[str, Any] = type(shown.template).to_dict(shown.template)
    for name in ("mlp_operation", "mlp_attempt"):
        del told["labels"][name]
    told["containers"][0]["env"].sort(key=lambda one: one["name"])
    return {**told, "ingress": shown.ingress}


def test_what_a_configuration_can_say_is_taken_over(
    endpoint: DeployedEndpoint, clock: Clock
) -> None:
    for what, (change, told, fields) in EXPRESSIBLE.items():
        finding = found_after(endpoint, clock, change, told)
        assert [one.slug for one in repairs_of(finding)] == ["take_over", "put_back"]
        before = see_service(endpoint.service_name)
        operation = repair(finding, "take_over", clock)
        assert (operation.status, operation.error) == ("succeeded", ""), what
        assert told in str(operation.steps[0]["note"])
        assert finding.status == FindingStatus.REPAIRED
        assert see_service(endpoint.service_name) == before
        endpoint.refresh_from_db()
        assert {name: endpoint.config[name] for name in fields} == dict(fields)
        assert endpoint.revision == before.latest_ready_revision.rpartition("/")[2]
        assert look(clock) == []


def assert_only_put_back(finding: Finding, why: str, clock: Clock) -> None:
    """No configuration can say it, so it cannot be taken over."""
    assert why in finding.evidence["no_take_over"]
    assert [one.slug for one in repairs_of(finding)] == ["put_back"]
    with pytest.raises(NoRepair, match=r"'take_over' is not possible"):
        repair_finding(finding=finding, repair="take_over", actor=ANA, now=clock())


def test_ours_is_put_back_by_a_deploy(endpoint: DeployedEndpoint, clock: Clock) -> None:
    before, kept = ours(endpoint), endpoint.config
    edits = {**EXPRESSIBLE, **NOT_EXPRESSIBLE}
    for what, (change, told, _) in edits.items():
        finding = found_after(endpoint, clock, change, told)
        if what in NOT_EXPRESSIBLE:
            assert_only_put_back(finding, NOT_EXPRESSIBLE[what][2], clock)
        operation = repair(finding, "put_back", clock)
        assert (operation.status, operation.error) == ("succeeded", ""), what
        assert told in str(operation.steps)
        assert (finding.status, finding.operation) == (FindingStatus.REPAIRED, operation)
        event = Event.objects.filter(kind=EventKind.DEPLOYED).latest("pk")
        assert "; ".join(event.before["changed_by_others"]) == told
        assert ours(endpoint) == before, what
        endpoint.refresh_from_db()
        assert endpoint.config == kept
        assert look(clock) == []


def test_the_files_of_another_version_are_taken_over_as_that_version(
    endpoint: DeployedEndpoint, clock: Clock
) -> None:
    first, other = endpoint.registered_model.training_runs.order_by("version")
    theirs = f"{other.gcs_artifacts_path}pushed_model/1"
    edit_service(endpoint.service_name, lambda s: set_env(s, "AIP_STORAGE_URI", theirs))
    assert look(clock) == ["service_changed"]
    finding = Finding.objects.open().get()
    assert finding.title.endswith(f"was given the files of {other.model_name} v2 on Cloud Run")
    assert finding.run == other
    operation = repair(finding, "take_over", clock)
    assert (operation.status, operation.error) == ("succeeded", "")
    endpoint.refresh_from_db()
    assert (endpoint.run, endpoint.previous_run) == (other, first)
    assert service_of(endpoint).labels["mlp_run"] == other.uid.hex
    other.refresh_from_db()
    assert other.status == "deployed"
    assert look(clock) == []


def test_what_people_set_that_is_not_ours_is_no_finding(
    endpoint: DeployedEndpoint, clock: Clock
) -> None:
    def change(service: Any) -> None:
        account, ingress = service.template.service_account, service.ingress
        set_all_that_is_theirs(service)
        service.template.service_account, service.ingress = account, ingress

    edit_service(endpoint.service_name, change)
    assert look(clock) == []


def test_only_the_invokers_that_we_named_are_missed(
    cloud: LocalCloud, endpoint: DeployedEndpoint, clock: Clock
) -> None:
    name, asked = endpoint.service_name, "Services.GetIamPolicy"
    assert cloud.effects.count(asked) == 0, "a configuration that names nobody asks nothing"
    shop, ops = "user:Shop@example.com", "user:ops@example.com"
    config = CONFIG.model_copy(update={"invokers": ("allUsers", shop)})
    assert endpoint.run
    finish(deploy(endpoint.run, clock, config=config), clock)
    cloud_run.change_invokers(name, add=[ops, shop.lower()], remove=[shop])
    assert look(clock) == [], "others' grants are theirs, and IAM may write an address in lowercase"
    cloud_run.change_invokers(name, add=(), remove=["allUsers"])
    cloud.faults.order(asked, "error", code="PERMISSION_DENIED", times=None)
    assert look(clock) == [], "what could not be read is not gone"
    cloud.faults.clear()
    assert look(clock) == ["service_changed"]
    finding = Finding.objects.open().get()
    assert finding.evidence["changed"] == ["allUsers may not call it"]
    cloud.faults.order(asked, "error", code="PERMISSION_DENIED", times=None)
    assert look(clock) == ["service_changed"], "nor is it back"
    cloud.faults.clear()
    assert repair(finding, "put_back", clock).status == "succeeded"
    assert "allUsers" in cloud_run.get_invokers(name)
    assert look(clock) == []
    cloud_run.change_invokers(name, add=(), remove=["allUsers"])
    assert look(clock) == ["service_changed"]
    before, finding = see_service(name), Finding.objects.open().get()
    assert repair(finding, "take_over", clock).status == "succeeded"
    assert see_service(name) == before
    endpoint.refresh_from_db()
    assert endpoint.config["invokers"] == [shop]
    assert look(clock) == []


def test_an_endpoint_of_before_takes_what_its_service_has(
    endpoint: DeployedEndpoint, clock: Clock
) -> None:
    DeployedEndpoint.objects.update(written=None)
    edit_service(endpoint.service_name, lambda s: set_env(s, "LOG", "hidden!"))
    edit_service(endpoint.service_name, EXPRESSIBLE["image"][0])
    assert look(clock) == []
    endpoint.refresh_from_db()
    assert endpoint.written is not None
    assert (endpoint.written["operation"], endpoint.written["image"]) == ("", "by-hand")
    assert "LOG" not in endpoint.written["env"]
    found_after(endpoint, clock, limit(cpu="2000m"), "cpu is 2000m, not 1")


def test_a_deploy_by_the_release_before_is_no_finding(
    endpoint: DeployedEndpoint, clock: Clock
) -> None:
    """It changes the service and the row, but not what this release keeps beside it."""
    written = endpoint.written
    other = endpoint.registered_model.training_runs.get(version=2)
    finish(deploy(other, clock), clock)
    DeployedEndpoint.objects.update(written=written)
    clock.forward(600)
    assert look(clock) == []
    found_after(endpoint, clock, limit(cpu="2000m"), "cpu is 2000m, not 1")


def test_what_a_person_changes_between_the_look_and_the_effect_is_read_again(
    endpoint: DeployedEndpoint, clock: Clock
) -> None:
    finding = found_after(endpoint, clock, *EXPRESSIBLE["image"][:2])
    operation = repair_finding(finding=finding, repair="put_back", actor=ANA, now=clock())
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=3)
    edit_service(endpoint.service_name, EXPRESSIBLE["timeout"][0])
    finish(operation, clock)
    assert (operation.status, operation.error) == ("succeeded", "")
    event = Event.objects.filter(kind=EventKind.DEPLOYED).latest("pk")
    assert event.before["changed_by_others"] == [
        "image is by-hand, not ours:1",
        "timeout_seconds is 9, not 300",
    ]
    assert look(clock) == []


def test_a_change_that_does_not_serve_cannot_be_taken_over(
    cloud: LocalCloud, endpoint: DeployedEndpoint, clock: Clock
) -> None:
    cloud.run.outcome("*", "fail")
    finding = found_after(endpoint, clock, *EXPRESSIBLE["image"][:2])
    operation = repair(finding, "take_over", clock)
    assert (operation.status, operation.error_code) == ("failed", "no_take_over")
    assert finding.status == FindingStatus.OPEN
    assert repair(finding, "put_back", clock).status == "succeeded"
    assert look(clock) == []


def test_who_changed_it_and_when_is_in_the_evidence(
    endpoint: DeployedEndpoint, clock: Clock
) -> None:
    finding = found_after(endpoint, clock, *EXPRESSIBLE["image"][:2])
    shown = see_service(endpoint.service_name)
    assert finding.evidence["last_changed_by"] == shown.last_modifier
    assert finding.evidence["last_changed_at"] == shown.update_time.isoformat(timespec="seconds")
    assert finding.evidence["since_revision"] == shown.latest_created_revision.rpartition("/")[2]
    assert finding.evidence["our_revision"] == endpoint.revision


def test_a_version_whose_files_an_older_revision_serves_is_not_deleted(
    endpoint: DeployedEndpoint, clock: Clock
) -> None:
    """Its revision has the labels of the version before: people changed the files only."""
    other = endpoint.registered_model.training_runs.get(version=2)
    address = service_of(endpoint).env["AIP_STORAGE_URI"]
    theirs = f"{other.gcs_artifacts_path}pushed_model/1"
    edit_service(endpoint.service_name, lambda s: set_env(s, "AIP_STORAGE_URI", theirs))
    given = see_service(endpoint.service_name).latest_ready_revision.rpartition("/")[2]

    def stay_with_it(service: Any) -> None:
        set_env(service, "AIP_STORAGE_URI", address)
        service.traffic = [{"type_": PINNED, "revision": given, "percent": 100}]

    edit_service(endpoint.service_name, stay_with_it)
    lineage = endpoint.registered_model
    operation = delete_versions(lineage=lineage, runs=[other], actor=ANA, now=clock())
    finish(operation, clock)
    assert (operation.status, operation.error_code) == ("failed", "model_deployed")
    assert f"Cloud Run serves it as {endpoint.service_name}" in operation.error


def test_a_revision_by_hand_that_serves_because_the_next_one_failed_is_found_and_put_back(
    cloud: LocalCloud, endpoint: DeployedEndpoint, clock: Clock
) -> None:
    edit_service(endpoint.service_name, limit(memory="4096Mi"))
    cloud.run.outcome(endpoint.service_name, "fail")
    edit_service(endpoint.service_name, limit(memory="2Gi"))  # ours again, but it never serves
    theirs = see_service(endpoint.service_name).latest_ready_revision.rpartition("/")[2]
    assert look(clock) == ["service_changed"]
    finding = Finding.objects.open().get(kind="service_changed")
    assert finding.evidence["changed"] == [f"requests go to {theirs}, which others made"]
    with pytest.raises(NoRepair, match="did not become ready"):
        repair(finding, "take_over", clock)
    assert repair(finding, "put_back", clock).status == "succeeded"
    assert look(clock) == []
