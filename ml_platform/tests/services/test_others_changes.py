"""What people set on a service of ours stays, and what they change of ours is told first.

Public reports of tools that reset it: google-github-actions/deploy-cloudrun and setup-gcloud (#177,
#179), cloud-code-vscode#804, hashicorp/terraform-provider-google (#8654, #13410).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from ml_platform.cloud.transport import channels
from ml_platform.cloud.types import Ingress
from ml_platform.models import DeployedEndpoint, Event, Operation, TrainingRun
from ml_platform.models.states import EventKind
from ml_platform.services.deployment.deploy import redeploy_endpoint, rollback_endpoint
from ml_platform.services.operations.engine import advance
from ml_platform.services.serving.config import ServingConfig
from ml_platform.services.workflows import WORKFLOWS

from .deploy_tools import deploy, deployed, facts, finish, service_of, services
from .people import edit_service, see_service
from .world import ANA, Clock

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.any_database]
PARENT = "projects/demo-project/locations/europe-central2"
LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
PINNED = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
CONFIG = ServingConfig(image="ours:1", env={"LOG": "info"})
Change = Callable[[Any], Any]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def redeploy(endpoint: DeployedEndpoint, clock: Clock, config: ServingConfig = CONFIG) -> Operation:
    """Redeploy for another caller each time, because a redeploy that changes nothing is refused."""
    endpoint.refresh_from_db()
    caller = f"user:ana{Operation.objects.count()}@example.com"
    config = config.model_copy(update={"invokers": (caller,)})
    operation = redeploy_endpoint(endpoint=endpoint, config=config, actor=ANA, now=clock())
    return finish(operation, clock)


def roll_back(endpoint: DeployedEndpoint, clock: Clock) -> Operation:
    endpoint.refresh_from_db()
    return finish(rollback_endpoint(endpoint=endpoint, actor=ANA, now=clock()), clock)


def note_of(operation: Operation) -> str:
    return " ".join(step["note"] for step in operation.steps if step["step"] == "look")


# ---- what is not ours stays ---------------------------------------------------------------------


def set_all_that_is_theirs(service: Any) -> None:
    """What the console and gcloud can set on a service, as far as it is not ours."""
    service.description = "Ask the shop team."
    service.ingress = "INGRESS_TRAFFIC_INTERNAL_ONLY"
    service.default_uri_disabled = True
    service.invoker_iam_disabled = True
    service.launch_stage = "BETA"
    service.custom_audiences = ["https://shop.example"]
    service.binary_authorization = {"use_default": True}
    service.scaling = {"min_instance_count": 1}
    service.labels["cost-centre"] = "4711"
    service.annotations["team"] = "shop"
    template = service.template
    template.labels["cost-centre"] = "4711"
    template.annotations["team"] = "shop"
    template.vpc_access = {"connector": f"{PARENT}/connectors/c1"}
    template.encryption_key = f"{PARENT}/keyRings/k/cryptoKeys/c"
    template.service_account = "theirs@demo-project.iam.gserviceaccount.com"
    template.session_affinity = True
    template.execution_environment = "EXECUTION_ENVIRONMENT_GEN2"
    template.volumes = [
        {"name": "sql", "cloud_sql_instance": {"instances": ["demo-project:r:db"]}},
        {"name": "key", "secret": {"secret": "key"}},
    ]
    ours = template.containers[0]
    ours.volume_mounts = [{"name": "sql", "mount_path": "/cloudsql"}]
    ours.resources.cpu_idle = False
    ours.resources.startup_cpu_boost = True
    ours.startup_probe = {"period_seconds": 7, "timeout_seconds": 3}
    secret = {"secret_key_ref": {"secret": "db", "version": "latest"}}
    ours.env.append({"name": "DB_PASSWORD", "value_source": secret})
    ours.env.append({"name": "THEIRS", "value": "1"})
    template.containers.insert(0, {"name": "proxy", "image": "proxy:1"})
    service.traffic = [
        {"type_": LATEST, "percent": 100},
        {"type_": PINNED, "percent": 0, "tag": "old",
         "revision": service.latest_ready_revision.rpartition("/")[2]},
    ]  # fmt: skip


WRITTEN_BY_GOOGLE = (
    "etag", "generation", "observed_generation", "update_time", "latest_ready_revision",
    "latest_created_revision", "terminal_condition", "conditions", "traffic_statuses",
)  # fmt: skip


def theirs(service: Any) -> dict[str, Any]:
    """The whole service, without what Google writes and what a deploy of ours changes."""
    told: dict[str, Any] = type(service).to_dict(service)
    for name in WRITTEN_BY_GOOGLE:
        del told[name]
    for labels in (told["labels"], told["template"]["labels"]):
        for name in ("mlp_run", "mlp_operation", "mlp_attempt"):
            del labels[name]
    for container in told["template"]["containers"]:
        container["env"] = [e for e in container["env"] if e["name"] != "AIP_STORAGE_URI"]
    return told


def new_version(endpoint: DeployedEndpoint, clock: Clock) -> Operation:
    new = endpoint.registered_model.training_runs.get(version=2)
    return finish(deploy(new, clock), clock)


VERBS = {"redeploy": redeploy, "deploy": new_version, "roll back": roll_back}


@pytest.mark.parametrize("verb", VERBS)
def test_all_that_others_set_on_a_service_stays(cloud: LocalCloud, clock: Clock, verb: str) -> None:
    endpoint, (_, new) = deployed(cloud, clock, versions=2, config=CONFIG)
    if verb == "roll back":
        finish(deploy(new, clock), clock)
    edit_service(endpoint.service_name, set_all_that_is_theirs)
    before = see_service(endpoint.service_name)
    cloud.effects.reset()
    operation = VERBS[verb](endpoint, clock)
    assert (operation.status, operation.error) == ("succeeded", "")
    # It is read to decide, to write what was read, to see what became of it, and the last two
    # again for its traffic.
    assert cloud.effects.count("Services.GetService") == 5
    assert cloud.effects.count("Services.UpdateService") == 2
    after = see_service(endpoint.service_name)
    assert theirs(after) == theirs(before)
    assert after.latest_ready_revision != before.latest_ready_revision
    assert "Others" not in note_of(operation)
    assert [t.tag for t in after.traffic_statuses] == ["", "old"]


@pytest.mark.parametrize("ending", ["fail", "no_traffic"])
def test_all_of_it_stays_when_a_version_gives_way_to_the_one_before(
    cloud: LocalCloud, clock: Clock, ending: Any
) -> None:
    endpoint, _ = deployed(cloud, clock, versions=2, config=CONFIG)
    edit_service(endpoint.service_name, set_all_that_is_theirs)
    before = see_service(endpoint.service_name)
    cloud.run.outcome("*", ending)
    operation = new_version(endpoint, clock)
    assert operation.error_code == "deploy_failed"
    after = see_service(endpoint.service_name)
    assert theirs(after) == theirs(before)
    assert after.template.labels["mlp_run"] == before.template.labels["mlp_run"]


def test_a_revision_that_a_person_named_does_not_stop_the_next(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock, config=CONFIG)

    def name_it(service: Any) -> None:
        service.template.revision = f"{endpoint.service_name}-by-hand"
        service.template.session_affinity = True

    edit_service(endpoint.service_name, name_it)
    assert redeploy(endpoint, clock).status == "succeeded"


# ---- what is ours is told before it is overwritten ----------------------------------------------

OURS: dict[str, tuple[Change, str]] = {
    "image": (lambda s: setattr(container(s), "image", "by-hand"), "image is by-hand, not ours:1"),
    "cpu": (
        lambda s: container(s).resources.limits.update({"cpu": "2000m"}),
        "cpu is 2000m, not 1",
    ),
    "memory": (
        lambda s: container(s).resources.limits.update({"memory": "4Gi"}),
        "memory is 4Gi, not 2Gi",
    ),
    "min": (
        lambda s: setattr(s.template.scaling, "min_instance_count", 1),
        "min_instances is 1, not 0",
    ),
    "max": (
        lambda s: setattr(s.template.scaling, "max_instance_count", 9),
        "max_instances is 9, not 1",
    ),
    "concurrency": (
        lambda s: setattr(s.template, "max_instance_request_concurrency", 7),
        "concurrency is 7, not 80",
    ),
    "timeout": (
        lambda s: setattr(s.template, "timeout", {"seconds": 9}),
        "timeout_seconds is 9, not 300",
    ),
    "env": (lambda s: set_env(s, "LOG", "secret!"), "env LOG is changed"),
    "env removed": (lambda s: drop_env(s, "LOG"), "env LOG is removed"),
    "artifacts": (lambda s: set_env(s, "AIP_STORAGE_URI", "gs://x/y"), "env AIP_STORAGE_URI is"),
    "label": (lambda s: s.labels.pop("mlp_lineage"), "label mlp_lineage is removed, not "),
}


def container(service: Any) -> Any:
    return service.template.containers[0]


def set_env(service: Any, name: str, value: str) -> None:
    (variable,) = [one for one in container(service).env if one.name == name]
    variable.value = value


def drop_env(service: Any, name: str) -> None:
    container(service).env = [one for one in container(service).env if one.name != name]


@pytest.mark.parametrize("what", OURS)
def test_what_others_change_of_ours_is_told_and_then_set_again(
    cloud: LocalCloud, clock: Clock, what: str
) -> None:
    endpoint, _ = deployed(cloud, clock, config=CONFIG)
    before = see_service(endpoint.service_name)
    change, told = OURS[what]
    edit_service(endpoint.service_name, change)
    operation = redeploy(endpoint, clock)
    assert operation.status == "succeeded"
    assert told in note_of(operation)
    assert "secret!" not in str(operation.steps)
    event = Event.objects.filter(kind=EventKind.DEPLOYED).latest("pk")
    (overwritten,) = event.before["changed_by_others"]
    assert overwritten.startswith(told)
    after = see_service(endpoint.service_name)
    assert theirs(after)["template"] == theirs(before)["template"] or what == "env removed"
    assert {e.name: e.value for e in container(after).env} == {
        e.name: e.value for e in container(before).env
    }
    assert after.labels["mlp_lineage"] == before.labels["mlp_lineage"]


@pytest.mark.slow
def test_what_we_change_ourselves_is_not_told_as_a_change_of_others(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock, config=CONFIG)
    edit_service(
        endpoint.service_name,
        lambda service: container(service).env.append({"name": "THEIRS", "value": "1"}),
    )
    asked = ServingConfig(image="ours:2", memory="4Gi", env={"NEW": "1"})
    for _ in range(2):
        operation = redeploy(endpoint, clock, config=asked)
        assert "Others" not in note_of(operation)
    after = see_service(endpoint.service_name)
    assert container(after).image == "ours:2"
    names = {one.name for one in container(after).env}
    assert {"THEIRS", "NEW", "LOG"} & names == {"THEIRS", "NEW"}
    assert Event.objects.filter(before__has_key="changed_by_others").count() == 0


@pytest.mark.slow
def test_what_an_unfinished_deploy_of_ours_left_is_not_told_as_a_change_of_others(
    cloud: LocalCloud, clock: Clock
) -> None:
    endpoint, _ = deployed(cloud, clock, config=CONFIG)
    cloud.run.outcome("*", "fail", times=2)
    asked = ServingConfig(image="ours:2", memory="4Gi", env={"NEW": "1"})
    failed = redeploy(endpoint, clock, asked)
    assert failed.error_code == "deploy_failed"
    again = redeploy(endpoint, clock)
    assert (again.status, "Others" in note_of(again)) == ("succeeded", False)
    assert service_of(endpoint).env.get("LOG") == "info"
    assert "NEW" not in service_of(endpoint).env


@pytest.mark.parametrize(
    ("asked", "first", "told"),
    [
        ({}, {}, ""),
        ({"ingress": "internal"}, {"ingress": "internal"}, "ingress is internal_and_load_balancer"),
        ({}, {"ingress": "internal"}, "ingress is internal_and_load_balancer, not internal"),
    ],
    ids=["open", "ours", "given up"],
)
def test_an_ingress_that_we_do_not_ask_for_is_what_others_made_it(
    cloud: LocalCloud, clock: Clock, asked: Any, first: Any, told: str
) -> None:
    endpoint, _ = deployed(cloud, clock, config=ServingConfig(image="i:1", **first))

    def balance(service: Any) -> None:
        service.ingress = "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"

    edit_service(endpoint.service_name, balance)
    operation = redeploy(endpoint, clock, config=ServingConfig(image="i:2", **asked))
    found = see_service(endpoint.service_name).ingress.name
    ours = "INGRESS_TRAFFIC_INTERNAL_ONLY"
    assert found == (ours if asked else "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER")
    assert told in note_of(operation)
    assert ("Others" in note_of(operation)) == bool(told)


def test_an_ingress_and_an_account_that_we_set_are_taken_back_when_no_longer_asked_for(
    cloud: LocalCloud, clock: Clock
) -> None:
    account = "serving@demo-project.iam.gserviceaccount.com"
    config = ServingConfig(image="i:1", ingress=Ingress.INTERNAL, service_account=account)
    endpoint, _ = deployed(cloud, clock, config=config)
    redeploy(endpoint, clock, config=ServingConfig(image="i:1"))
    service = see_service(endpoint.service_name)
    assert service.ingress.name == "INGRESS_TRAFFIC_ALL"
    assert service.template.service_account.endswith("-compute@developer.gserviceaccount.com")


# ---- traffic ------------------------------------------------------------------------------------


def send(service_id: str, *targets: dict[str, Any]) -> None:
    def change(service: Any) -> None:
        service.traffic = [
            {"type_": PINNED if "revision" in target else LATEST, **target} for target in targets
        ]

    edit_service(service_id, change)


def shares(service_id: str) -> dict[str, int]:
    shown = see_service(service_id).traffic_statuses
    return {target.revision: target.percent for target in shown if target.percent}


@pytest.fixture
def two(cloud: LocalCloud, clock: Clock) -> tuple[DeployedEndpoint, list[str]]:
    """An endpoint with its first and second revision; it serves the second."""
    endpoint, _ = deployed(cloud, clock, versions=2, config=CONFIG)
    first = endpoint.revision
    redeploy(endpoint, clock)
    endpoint.refresh_from_db()
    return endpoint, [first, endpoint.revision]


@pytest.mark.slow
def test_a_new_version_gets_the_share_that_the_latest_revision_had(
    two: tuple[DeployedEndpoint, list[str]], clock: Clock
) -> None:
    endpoint, (first, second) = two
    send(endpoint.service_name, {"percent": 30}, {"revision": first, "percent": 70, "tag": "old"})
    operation = new_version(endpoint, clock)
    assert operation.status == "succeeded"
    assert "The new revision gets 30 % of the traffic; the rest stays." in note_of(operation)
    endpoint.refresh_from_db()
    assert shares(endpoint.service_name) == {endpoint.revision: 30, first: 70}
    assert endpoint.revision not in (first, second)
    assert [t.tag for t in see_service(endpoint.service_name).traffic] == ["", "old"]


@pytest.mark.slow
@pytest.mark.parametrize("percent", [100, 60])
def test_a_new_version_gets_the_share_to_which_the_newest_revision_was_pinned(
    two: tuple[DeployedEndpoint, list[str]], clock: Clock, percent: int
) -> None:
    endpoint, (first, second) = two
    pins = [{"revision": second, "percent": percent, "tag": "live"}]
    rest = {first: 100 - percent} if percent < 100 else {}
    pins += [{"revision": name, "percent": share} for name, share in rest.items()]
    send(endpoint.service_name, *pins)
    assert new_version(endpoint, clock).status == "succeeded"
    endpoint.refresh_from_db()
    assert shares(endpoint.service_name) == {endpoint.revision: percent, **rest}
    tags = {t.tag: t.revision for t in see_service(endpoint.service_name).traffic if t.tag}
    assert tags == {"live": second}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["redeploy", "deploy"])
def test_traffic_that_was_sent_to_older_revisions_is_not_taken_back(
    two: tuple[DeployedEndpoint, list[str]], clock: Clock, verb: str
) -> None:
    endpoint, (first, second) = two
    tagged = {"revision": second, "percent": 0, "tag": "next"}
    send(endpoint.service_name, {"revision": first, "percent": 100}, tagged)
    before = see_service(endpoint.service_name)
    row = facts(endpoint)
    operation = VERBS[verb](endpoint, clock)
    assert (operation.status, operation.error_code) == ("failed", "traffic_elsewhere")
    assert f"was sent to {first}" in operation.error
    assert f"update-traffic {endpoint.service_name} --to-latest" in operation.advice
    assert see_service(endpoint.service_name) == before
    assert facts(endpoint) == row
    send(endpoint.service_name, {"percent": 100})
    assert VERBS[verb](endpoint, clock).status == "succeeded"


@pytest.mark.slow
def test_traffic_that_is_sent_away_while_a_version_comes_up_is_not_taken_back(
    two: tuple[DeployedEndpoint, list[str]], clock: Clock
) -> None:
    endpoint, (first, _) = two
    new = endpoint.registered_model.training_runs.get(version=2)
    operation = deploy(new, clock)
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=4)
    send(endpoint.service_name, {"revision": first, "percent": 100})
    finish(operation, clock)
    assert (operation.status, operation.error_code) == ("failed", "deploy_failed")
    assert "gets 0 % of the traffic" in operation.error
    assert shares(endpoint.service_name) == {first: 100}


@pytest.mark.slow
def test_a_version_that_fails_leaves_a_split_as_it_was(
    cloud: LocalCloud, two: tuple[DeployedEndpoint, list[str]], clock: Clock
) -> None:
    endpoint, (first, _) = two
    send(endpoint.service_name, {"percent": 30}, {"revision": first, "percent": 70})
    cloud.run.outcome("*", "fail")
    assert new_version(endpoint, clock).error_code == "deploy_failed"
    endpoint.refresh_from_db()
    assert endpoint.is_active
    assert shares(endpoint.service_name) == {endpoint.revision: 30, first: 70}


# ---- between our read and our write -------------------------------------------------------------


def before_our(method: str, deed: Callable[[], None]) -> Callable[[str], None]:
    """An observer of calls that does something once, before the first of this method."""
    done: list[str] = []

    def observe(called: str) -> None:
        if called == method and not done:
            done.append(called)
            deed()

    return observe


def test_a_person_who_writes_between_our_read_and_our_write_keeps_their_change(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, _ = deployed(cloud, clock, versions=2, config=CONFIG)

    def edit(service: Any) -> None:
        service.template.vpc_access = {"connector": f"{PARENT}/connectors/c1"}
        container(service).resources.limits["memory"] = "4Gi"

    observe = before_our(
        "Services.UpdateService", lambda: edit_service(endpoint.service_name, edit)
    )
    monkeypatch.setattr(channels, "before_call", [*channels.before_call, observe])
    operation = new_version(endpoint, clock)
    assert operation.status == "succeeded"
    calls = cloud.effects.calls("Services.UpdateService")
    assert [call.outcome for call in calls][-4:] == ["OK", "ABORTED", "OK", "OK"]
    service = see_service(endpoint.service_name)
    assert service.template.vpc_access.connector
    assert container(service).resources.limits["memory"] == "2Gi"
    assert "memory is 4Gi, not 2Gi" in note_of(operation)


@pytest.mark.parametrize("method", ["Services.GetService", "Services.UpdateService"])
def test_a_worker_that_dies_between_its_read_and_its_write_leaves_nothing_lost(
    cloud: LocalCloud, clock: Clock, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    endpoint, (_, new) = deployed(cloud, clock, versions=2, config=CONFIG)
    edit_service(endpoint.service_name, set_all_that_is_theirs)
    before = theirs(see_service(endpoint.service_name))
    operation = deploy(new, clock)
    advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock, steps=3)

    def die() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(channels, "before_call", [before_our(method, die)])
        with pytest.raises(KeyboardInterrupt):
            advance(operation_id=operation.pk, workflows=WORKFLOWS, clock=clock)
    clock.forward(61)
    assert finish(operation, clock).status == "succeeded"
    assert theirs(see_service(endpoint.service_name)) == before
    assert services() == {endpoint.service_name: new.uid.hex}
    assert TrainingRun.objects.get(pk=new.pk).status == "deployed"
