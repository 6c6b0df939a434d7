"""Roles of service accounts: what each may do, and how the services refuse the rest."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import grpc
import pytest
import requests
from google.api_core import exceptions
from google.cloud import run_v2, scheduler_v1, storage
from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
from google.oauth2.credentials import Credentials

from ml_platform.localcloud import LocalCloud
from ml_platform.localcloud.core.access import permissions
from ml_platform.localcloud.core.access.callers import access_token

from .conftest import PARENT, ROBOT
from .iam_tools import CALLS, MEMBER, RUNNER
from .test_callers import of_account
from .test_places import parent_of, world_of

Call = Callable[..., Any]


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize("role", ["none", "viewer", "owner", "of the service"])
def test_each_account_may_do_what_its_role_says(
    cloud: LocalCloud, call: Call, service: str, role: str
) -> None:
    cls, (read, reading, to_read), (write, writing, to_write) = CALLS[service]
    api = service.partition(" ")[0]
    cloud.iam.restrict(MEMBER)
    if role == "of the service":
        cloud.iam.grant(MEMBER, f"roles/{api}.{'viewer' if api == 'monitoring' else 'admin'}")
        cloud.iam.grant(MEMBER, "roles/iam.serviceAccountUser")
    elif role != "none":
        cloud.iam.grant(MEMBER, f"roles/{role}")
    if role == "none":
        with pytest.raises(exceptions.PermissionDenied, match=to_read):
            call(cls, read, reading)
    else:
        call(cls, read, reading)
    if role == "none" or (role == "viewer" and read != write):
        with pytest.raises(exceptions.PermissionDenied, match=to_write):
            call(cls, write, writing)
        assert cloud.effects.mutations() == []
        assert cloud.effects.calls()[-1].outcome == "PERMISSION_DENIED"
    else:
        call(cls, write, writing)


@pytest.mark.parametrize("role", ["none", "viewer", "owner", "storage.admin"])
def test_storage_follows_the_role(
    cloud: LocalCloud, gcs: storage.Client, robot_gcs: Any, role: str
) -> None:
    gcs.create_bucket("artifacts").blob("a").upload_from_string(b"1")
    cloud.iam.restrict(MEMBER)
    if role != "none":
        cloud.iam.grant(MEMBER, f"roles/{role}")
    blob = robot_gcs.bucket("artifacts").blob("a")
    reads: list[Callable[[], Any]] = [
        lambda: list(robot_gcs.list_buckets()),
        lambda: list(robot_gcs.list_blobs("artifacts")),
        blob.download_as_bytes,
        blob.reload,
    ]
    writes: list[Callable[[], Any]] = [
        lambda: blob.upload_from_string(b"2"),
        lambda: robot_gcs.create_bucket("another"),
        blob.patch,
        blob.delete,
    ]
    for allowed, doings in ((role != "none", reads), (role not in ("none", "viewer"), writes)):
        for do in doings:
            if allowed:
                do()
            else:
                with pytest.raises(exceptions.Forbidden, match=r"Permission 'storage\.[a-zA-Z.]+'"):
                    do()


def test_the_words_of_a_refusal(
    cloud: LocalCloud, call: Call, gcs: storage.Client, robot_gcs: Any
) -> None:
    gcs.create_bucket("artifacts").blob("a").upload_from_string(b"1")
    cloud.iam.restrict(MEMBER)
    name = f"{PARENT}/models/ranker"
    with pytest.raises(exceptions.PermissionDenied) as refused:
        call(ModelServiceClient, "get_model", {"name": name})
    assert refused.value.message == (
        "Permission 'aiplatform.models.get' denied on resource "
        f"'//aiplatform.googleapis.com/{name}' (or it may not exist)."
    )
    assert refused.value.reason == "IAM_PERMISSION_DENIED"
    assert refused.value.domain == "aiplatform.googleapis.com"
    assert refused.value.metadata == {"permission": "aiplatform.models.get", "resource": name}
    with pytest.raises(exceptions.Forbidden) as refused_there:
        robot_gcs.bucket("artifacts").blob("a").reload()
    assert refused_there.value.message.endswith(
        f"{ROBOT} does not have storage.objects.get access to the Google Cloud Storage object. "
        "Permission 'storage.objects.get' denied on resource (or it may not exist)."
    )
    assert refused_there.value.errors[0]["reason"] == "forbidden"
    with pytest.raises(exceptions.PermissionDenied, match="lacks IAM permission"):
        call(scheduler_v1.CloudSchedulerClient, "get_job", {"name": f"{PARENT}/jobs/j"})
    with pytest.raises(exceptions.PermissionDenied, match=r"\(or resource may not exist\)"):
        call(run_v2.ServicesClient, "get_service", {"name": f"{PARENT}/services/s"})


def test_others_may_do_everything(cloud: LocalCloud, models: Any) -> None:
    cloud.iam.restrict(MEMBER)
    models.list_models(parent=PARENT)
    models.list_models(parent=PARENT, metadata=of_account(RUNNER))
    cloud.iam.release(MEMBER)
    models.list_models(parent=PARENT, metadata=of_account(ROBOT))


def test_a_grant_restricts_and_a_revoked_one_leaves_nothing(cloud: LocalCloud, call: Call) -> None:
    read = (ModelServiceClient, "list_models", {"parent": PARENT})
    cloud.iam.grant(MEMBER, "roles/run.viewer")
    with pytest.raises(exceptions.PermissionDenied):
        call(*read)
    cloud.iam.grant(MEMBER, "roles/aiplatform.viewer")
    call(*read)
    cloud.iam.revoke(MEMBER, "roles/aiplatform.viewer")
    with pytest.raises(exceptions.PermissionDenied):
        call(*read)
    cloud.iam.grant("allUsers", "roles/aiplatform.viewer")
    call(*read)


def test_a_refusal_takes_no_quota_and_no_fault(cloud: LocalCloud, call: Call, models: Any) -> None:
    cloud.iam.restrict(MEMBER)
    fault = cloud.faults.order("ModelService.ListModels", "error", "UNAVAILABLE")
    with pytest.raises(exceptions.PermissionDenied):
        call(ModelServiceClient, "list_models", {"parent": PARENT})
    assert fault.seen == 0


def test_a_creator_creates_but_does_not_read_or_overwrite(
    cloud: LocalCloud, gcs: storage.Client, robot_gcs: Any
) -> None:
    gcs.create_bucket("artifacts").blob("old").upload_from_string(b"old")
    cloud.iam.grant(MEMBER, "roles/storage.objectCreator")
    bucket = robot_gcs.bucket("artifacts")
    bucket.blob("new").upload_from_string(b"new")
    for name in ("new", "old"):
        with pytest.raises(exceptions.Forbidden, match=r"storage\.objects\.delete"):
            bucket.blob(name).upload_from_string(b"other")
        with pytest.raises(exceptions.Forbidden, match=r"storage\.objects\.get"):
            bucket.blob(name).download_as_bytes()
    assert gcs.bucket("artifacts").blob("old").download_as_bytes() == b"old"
    with pytest.raises(exceptions.Forbidden, match=r"storage\.objects\.get"):
        bucket.blob("copy").rewrite(bucket.blob("old"))
    with pytest.raises(exceptions.NotFound):
        robot_gcs.bucket("nowhere").blob("x").reload()


def test_a_deleted_bucket_is_restored_by_who_may(
    cloud: LocalCloud, gcs: storage.Client, robot_gcs: Any
) -> None:
    bucket = gcs.create_bucket("artifacts")
    bucket.delete()
    cloud.iam.grant(MEMBER, "roles/storage.objectAdmin")
    with pytest.raises(exceptions.Forbidden, match=r"storage\.buckets\.get"):
        robot_gcs.get_bucket("artifacts", soft_deleted=True, generation=bucket.generation)
    with pytest.raises(exceptions.Forbidden, match=r"storage\.buckets\.restore"):
        robot_gcs.restore_bucket("artifacts", bucket.generation)
    cloud.iam.grant(MEMBER, "roles/storage.admin")
    robot_gcs.restore_bucket("artifacts", bucket.generation)
    assert gcs.bucket("artifacts").exists()


def test_an_operation_needs_what_its_resource_needs(cloud: LocalCloud, call: Call) -> None:
    cloud.iam.grant(MEMBER, "roles/aiplatform.viewer")
    for permitted in ("GetOperation", "WaitOperation", "DeleteOperation"):
        name = f"{PARENT}/models/1/operations/2"
        (need,) = permissions.needs_of(f"Operations.{permitted}", name, {})
        assert need.permissions == ("aiplatform.models.get",)
    (need,) = permissions.needs_of("Operations.CancelOperation", name, {})
    assert need.permissions == ("aiplatform.models.delete",)
    (need,) = permissions.needs_of("Operations.GetOperation", f"{PARENT}/operations/2", {})
    assert need.permissions == ("run.operations.get",)


def test_every_wired_method_has_its_permission(cloud: LocalCloud) -> None:
    wired = cloud.faults._known
    assert len(wired) > 60
    assert [method for method in sorted(wired) if not permissions.knows(method)] == []


def test_every_method_and_route_is_refused_to_an_account_without_roles(
    cloud: LocalCloud, channel: grpc.Channel, gcs: storage.Client
) -> None:
    gcs.create_bucket("artifacts")
    cloud.iam.restrict(MEMBER)
    served = {path for one in cloud._handlers for path in one._method_handlers}  # type: ignore[attr-defined]
    for path in sorted(served):
        code = refusal(channel, path)
        free = path.rpartition(".")[2].replace("/", ".") in permissions.FREE
        assert (code is grpc.StatusCode.PERMISSION_DENIED) is not free, path
    headers = {"Authorization": f"Bearer {access_token(ROBOT)}"}
    for route, _ in cloud.router._routes:
        if not route.call or route.call in permissions.FREE:
            continue
        path = re.sub(r"\(\?:[^)]*\)\?", "", route.pattern)
        path = re.sub(r"\(\?P<\w*bucket>[^)]*\)", "artifacts", path)
        path = re.sub(r"\(\?P<endpoint>[^)]*\)", f"{PARENT}/endpoints/a", path)
        path = re.sub(r"\(\?P<\w+>[^)]*\)", "a", path)
        answer = requests.request(
            route.verb,
            f"{cloud.http_url}{path}?project=demo-project",
            headers=headers,
            timeout=10,
        )
        assert answer.status_code == 403, path
    assert cloud.effects.mutations() == cloud.effects.mutations("storage.buckets.insert")


def refusal(channel: grpc.Channel, path: str) -> grpc.StatusCode | None:
    """The code of an empty request by the robot account; None when it was served."""
    try:
        send: Any = channel.unary_unary(path)
        send(b"", metadata=of_account(ROBOT))
    except grpc.RpcError as error:
        code: grpc.StatusCode = error.code()
        return code
    return None


def test_rest_asks_for_the_same_roles_in_the_same_place() -> None:
    with world_of() as world:
        world.cloud.iam.grant(MEMBER, "roles/aiplatform.viewer", project="other-project")
        with world.cloud.at("other-project", "us-central1"):
            world.cloud.models.seed("ranker", display_name="theirs")
        client = ModelServiceClient(
            transport="rest",
            credentials=Credentials(access_token(ROBOT)),
            client_options={"api_endpoint": world.cloud.http_url},
        )
        (found,) = client.list_models(parent=parent_of("other-project", "us-central1"))
        assert found.display_name == "theirs"
        assert not list(client.list_models(parent=parent_of("other-project", "europe-central2")))
        listed = client.list_locations({"name": "projects/other-project"}).locations
        assert [one.location_id for one in listed] == ["europe-central2", "us-central1"]
        with pytest.raises(exceptions.Forbidden, match=r"Permission 'aiplatform\.models\.list'"):
            client.list_models(parent=PARENT)
        with pytest.raises(exceptions.Forbidden, match=r"aiplatform\.models\.delete"):
            client.delete_model(name=found.name)
