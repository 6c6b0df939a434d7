"""Where roles come from: grants on a project, policies of resources, and acting as an account."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.cloud import resourcemanager_v3, run_v2, scheduler_v1, storage
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.iam.v1 import policy_pb2
from google.oauth2.service_account import Credentials as KeyFile

from ml_platform.localcloud import LocalCloud, Unusable

from .conftest import PARENT, ROBOT, gcs_as
from .iam_tools import CALLS, MEMBER, PIPELINE, RUNNER, SERVICE
from .test_callers import key_file, of_account
from .test_places import parent_of, world_of

Call = Callable[..., Any]


def test_a_bucket_s_policy_gives_roles_on_that_bucket(
    cloud: LocalCloud, gcs: storage.Client, robot_gcs: Any
) -> None:
    for name in ("ours", "theirs"):
        bucket = gcs.bucket(name)
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        bucket.create()
        bucket.blob("a").upload_from_string(b"1")
    cloud.iam.restrict(MEMBER)
    policy = gcs.bucket("ours").get_iam_policy(requested_policy_version=3)
    policy.version = 3
    policy.bindings = [
        {"role": "roles/storage.objectViewer", "members": {MEMBER}},
        {
            "role": "roles/storage.objectAdmin",
            "members": {MEMBER},
            "condition": {"title": "never", "expression": "false"},
        },
    ]
    gcs.bucket("ours").set_iam_policy(policy)
    blob = robot_gcs.bucket("ours").blob("a")
    assert blob.download_as_bytes() == b"1"
    asked = ["storage.objects.get", "storage.objects.delete", "storage.buckets.get"]
    assert robot_gcs.bucket("ours").test_iam_permissions(asked[:1]) == asked[:1]
    assert robot_gcs.bucket("ours").test_iam_permissions(asked[1:2]) == []
    assert gcs.bucket("ours").test_iam_permissions(asked[1:2]) == asked[1:2]
    with pytest.raises(exceptions.Forbidden):
        blob.delete()
    with pytest.raises(exceptions.Forbidden):
        robot_gcs.bucket("theirs").blob("a").reload()


def test_a_service_s_policy_gives_roles_on_that_service_and_below(
    cloud: LocalCloud, call: Call, client_of: Callable[[Any], Any]
) -> None:
    services = client_of(run_v2.ServicesClient)
    for service_id in ("ours", "theirs"):
        services.create_service(parent=PARENT, service=SERVICE, service_id=service_id).result()
    ours = f"{PARENT}/services/ours"
    numbered = ours.replace("demo-project", "123456789012")
    cloud.iam.restrict(MEMBER)
    bindings = [
        policy_pb2.Binding(role="roles/run.viewer", members=[MEMBER]),
        policy_pb2.Binding(
            role="roles/run.admin",
            members=[MEMBER],
            condition={"expression": "false"},
        ),
    ]
    policy = policy_pb2.Policy(version=3, bindings=bindings)
    services.set_iam_policy({"resource": ours, "policy": policy})
    for name in (ours, numbered):
        found = call(run_v2.ServicesClient, "get_service", {"name": name})
        revision = {"name": f"{name}/revisions/{found.latest_ready_revision.rpartition('/')[2]}"}
        call(run_v2.RevisionsClient, "get_revision", revision)
        asked = {"resource": name, "permissions": ["run.services.get", "run.services.delete"]}
        held = call(run_v2.ServicesClient, "test_iam_permissions", asked)
        assert held.permissions == ["run.services.get"]
    for refused in (
        ("get_service", {"name": f"{PARENT}/services/theirs"}),
        ("delete_service", {"name": ours}),
        ("list_services", {"parent": PARENT}),
    ):
        with pytest.raises(exceptions.PermissionDenied):
            call(run_v2.ServicesClient, *refused)


def test_a_role_is_of_its_project(client_of: Callable[[Any], Any]) -> None:
    with world_of() as world:
        world.cloud.iam.grant(MEMBER, "roles/viewer", project="987654321098")
        models, as_robot = world.client(ModelServiceClient), of_account(ROBOT)
        for location in ("europe-central2", "us-central1"):
            for form in ("other-project", "987654321098"):
                models.list_models(parent=parent_of(form, location), metadata=as_robot)
            with pytest.raises(exceptions.PermissionDenied):
                models.list_models(parent=parent_of("demo-project", location), metadata=as_robot)
        world.gcs("demo-project").create_bucket("ours")
        world.gcs("other-project").create_bucket("theirs")
        for client in gcs_as(world.cloud, ROBOT):
            assert client.get_bucket("theirs").name == "theirs"
            assert [one.name for one in client.list_buckets(project="other-project")] == ["theirs"]
            with pytest.raises(exceptions.Forbidden):
                client.get_bucket("ours")
            with pytest.raises(exceptions.Forbidden):
                list(client.list_buckets())
        projects = world.client(resourcemanager_v3.ProjectsClient)
        projects.get_project(name="projects/other-project", metadata=as_robot)
        with pytest.raises(exceptions.PermissionDenied, match="cloudresourcemanager"):
            projects.get_project(name="projects/demo-project", metadata=as_robot)


ACTS: list[tuple[str, Any, str, dict[str, Any]]] = [
    ("run.admin", *CALLS["run"][:1], *CALLS["run"][2][:2]),
    (
        "run.admin",
        run_v2.ServicesClient,
        "create_service",
        {
            "parent": PARENT,
            "service_id": "default",
            "service": {"template": {"containers": [{"image": "img"}]}},
        },
    ),
    (
        "aiplatform.user",
        PipelineServiceClient,
        "create_pipeline_job",
        {"parent": PARENT, "pipeline_job": PIPELINE | {"service_account": RUNNER}},
    ),
    *(
        (
            "cloudscheduler.admin",
            scheduler_v1.CloudSchedulerClient,
            "create_job",
            {
                "parent": PARENT,
                "job": {
                    "schedule": "0 4 * * *",
                    "http_target": {
                        "uri": "http://127.0.0.1:1/",
                        kind: {"service_account_email": RUNNER},
                    },
                },
            },
        )
        for kind in ("oidc_token", "oauth_token")
    ),
]


@pytest.mark.parametrize(("role", "cls", "method", "request_of"), ACTS)
def test_who_names_an_account_must_be_allowed_to_act_as_it(
    cloud: LocalCloud, call: Call, role: str, cls: Any, method: str, request_of: dict[str, Any]
) -> None:
    cloud.iam.grant(MEMBER, f"roles/{role}")
    words = r"Permission 'iam\.serviceaccounts\.actAs' denied on service account \S+@\S+ \(or it"
    with pytest.raises(exceptions.PermissionDenied, match=words):
        call(cls, method, request_of)
    assert cloud.effects.mutations() == []
    cloud.iam.grant(MEMBER, "roles/iam.serviceAccountUser")
    call(cls, method, request_of)


def test_grants_survive_a_restart_and_end_with_a_reset(tmp_path: Path) -> None:
    state = tmp_path / "cloud.sqlite3"
    with world_of(state=state) as world:
        world.cloud.iam.grant(MEMBER, "roles/run.viewer")
        world.cloud.iam.restrict("serviceAccount:b@demo-project.iam.gserviceaccount.com")
    with world_of(state=state) as world:
        accounts = world.cloud.iam.accounts()
        assert accounts == {
            ROBOT: [{"role": "roles/run.viewer", "project": "demo-project"}],
            "b@demo-project.iam.gserviceaccount.com": [],
        }
        world.cloud.reset()
        assert world.cloud.iam.accounts() == {}


def test_the_control_api_grants_and_restricts(cloud: LocalCloud, call: Call) -> None:
    url = f"{cloud.http_url}/_localcloud/iam"
    granted = requests.post(url, json={"grant": MEMBER, "role": "roles/run.viewer"}, timeout=10)
    account = {ROBOT: [{"role": "roles/run.viewer", "project": "demo-project"}]}
    assert granted.json() == requests.get(url, timeout=10).json() == {"accounts": account}
    call(run_v2.ServicesClient, "list_services", {"parent": PARENT})
    for body in (
        {"revoke": MEMBER, "role": "roles/run.viewer"},
        {"release": MEMBER},
        {"restrict": MEMBER},
    ):
        assert requests.post(url, json=body, timeout=10).status_code == 200
    with pytest.raises(exceptions.PermissionDenied):
        call(run_v2.ServicesClient, "list_services", {"parent": PARENT})
    for wrong in ({}, {"grant": "robot"}, {"grant": MEMBER}, {"grant": MEMBER, "role": "roles/x"}):
        assert requests.post(url, json=wrong, timeout=10).status_code == 400


@pytest.mark.parametrize(
    ("member", "role", "project"),
    [
        ("robot", "roles/viewer", ""),
        ("group:a@b.c", "roles/viewer", ""),
        (MEMBER, "roles/nothing", ""),
        (MEMBER, "roles/viewer", "third-project"),
    ],
)
def test_a_grant_that_cannot_be_is_unusable(
    cloud: LocalCloud, member: str, role: str, project: str
) -> None:
    with pytest.raises(Unusable):
        cloud.iam.grant(member, role, project=project)
    assert cloud.iam.accounts() == {}


def test_a_key_file_s_account_is_refused_by_storage_and_vertex(tmp_path: Path) -> None:
    with LocalCloud(tls_port=0) as cloud:
        cloud.storage.write("artifacts", "a", b"1")
        cloud.iam.grant(MEMBER, "roles/storage.objectViewer")
        scopes = ["https://www.googleapis.com/auth/cloud-platform"]
        found = KeyFile.from_service_account_file(key_file(tmp_path, cloud), scopes=scopes)
        options = ClientOptions(api_endpoint=cloud.http_url)
        client = storage.Client("demo-project", found, client_options=options)
        blob = client.bucket("artifacts").blob("a")
        assert blob.download_as_bytes() == b"1"
        with pytest.raises(exceptions.Forbidden, match=ROBOT):
            blob.delete()
        client.close()
