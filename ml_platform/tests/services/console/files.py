"""What people do to objects in Cloud Storage, and to buckets, keys and notifications."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import requests

from ml_platform.tests.services.world import BUCKET

from .scene import Row, Scene, Undo

FILE = "pushed_model/1/saved_model.pb"
ROBOT = "robot@demo-project.iam.gserviceaccount.com"
BUCKETS_OWN = "A setting of the bucket changes no file; what it does to files later is found then."
NO_KEY = "The platform signs in as its service account and holds no HMAC key."
NO_TOPIC = "A notification tells others of changes; no file is changed."
OTHER = b"other"


def _file(scene: Scene) -> Any:
    """The saved model of a registered version, as Google's client names it."""
    _, [run] = scene.model()
    folder = run.gcs_artifacts_path.removeprefix(f"gs://{BUCKET}/")
    return scene.bucket().blob(f"{folder}{FILE}")


def _restored(blob: Any) -> Callable[[], None]:
    """Write the same bytes again."""
    return lambda: blob.upload_from_string(b"model")


def _other(scene: Scene) -> Any:
    blob = scene.bucket().blob(scene.name("elsewhere"))
    blob.upload_from_string(OTHER)
    return blob


def insert(scene: Scene) -> Undo:
    blob = _file(scene)
    blob.upload_from_string(OTHER)
    return _restored(blob)


def delete(scene: Scene) -> Undo:
    blob = _file(scene)
    blob.delete()
    return _restored(blob)


def compose(scene: Scene) -> Undo:
    blob, other = _file(scene), _other(scene)
    blob.compose([other, other])
    return _restored(blob)


def rewrite(scene: Scene) -> Undo:
    blob = _file(scene)
    blob.rewrite(_other(scene))
    return _restored(blob)


def copy(scene: Scene) -> Undo:
    blob, other = _file(scene), _other(scene)
    scene.bucket().copy_blob(other, scene.bucket(), new_name=blob.name)
    return _restored(blob)


def move(scene: Scene) -> Undo:
    blob = _file(scene)
    moved = scene.bucket().move_blob(blob, blob.name.replace("saved_model", "renamed"))
    return lambda: scene.bucket().move_blob(moved, blob.name)


def patch(scene: Scene) -> Undo:
    blob = _file(scene)
    blob.metadata = {"reviewed": "yes"}
    blob.patch()
    return None


def update(scene: Scene) -> Undo:
    blob = _file(scene)
    blob.reload()
    blob.metadata = {"reviewed": "yes"}
    blob.update()
    return None


def restore(scene: Scene) -> Undo:
    blob = _file(scene)
    blob.reload()
    generation = blob.generation
    blob.delete()
    scene.bucket().restore_blob(blob.name, generation=generation)
    return None


def restore_many(scene: Scene) -> Undo:
    path = f"{scene.cloud.http_url}/storage/v1/b/{BUCKET}/o/bulkRestore"
    assert requests.post(path, json={}, timeout=5).status_code == 501
    return None


def create_bucket(scene: Scene) -> Undo:
    scene.storage().create_bucket("theirs-alone", location="EU")
    return None


def delete_bucket(scene: Scene) -> Undo:
    bucket = scene.storage().get_bucket("theirs-alone")
    scene.kept["generation"] = bucket.generation
    bucket.delete()
    return None


def restore_bucket(scene: Scene) -> Undo:
    scene.storage().restore_bucket("theirs-alone", generation=scene.kept["generation"])
    return None


def patch_bucket(scene: Scene) -> Undo:
    bucket = scene.storage().get_bucket(BUCKET)
    bucket.versioning_enabled = True
    bucket.patch()
    return None


def update_bucket(scene: Scene) -> Undo:
    bucket = scene.storage().get_bucket(BUCKET)
    bucket.labels = {"team": "search"}
    bucket.update()
    return None


def lock_bucket(scene: Scene) -> Undo:
    bucket = scene.storage().get_bucket("theirs-alone")
    bucket.retention_period = 60
    bucket.patch()
    bucket.lock_retention_policy()
    return None


def invite(scene: Scene) -> Undo:
    bucket = scene.bucket()
    policy = bucket.get_iam_policy()
    policy.bindings.append(
        {"role": "roles/storage.objectViewer", "members": {f"serviceAccount:{ROBOT}"}}
    )
    bucket.set_iam_policy(policy)
    return None


def create_key(scene: Scene) -> Undo:
    scene.kept["key"], _ = scene.storage().create_hmac_key(ROBOT)
    return None


def update_key(scene: Scene) -> Undo:
    scene.kept["key"].state = "INACTIVE"
    scene.kept["key"].update()
    return None


def delete_key(scene: Scene) -> Undo:
    scene.kept["key"].delete()
    return None


def create_notification(scene: Scene) -> Undo:
    scene.kept["notification"] = scene.bucket().notification("changes")
    scene.kept["notification"].create()
    return None


def delete_notification(scene: Scene) -> Undo:
    scene.kept["notification"].delete()
    return None


CHANGED, SAME_FILE = ("artifacts_changed",), "The name, the size and the checksum stay the same."
ROWS = (
    Row(method="storage.objects.insert", act=insert, finds=CHANGED),
    Row(method="storage.objects.compose", act=compose, finds=CHANGED),
    Row(method="storage.objects.rewrite", act=rewrite, finds=CHANGED),
    Row(method="storage.objects.copy", act=copy, finds=CHANGED),
    Row(method="storage.objects.delete", act=delete, finds=("artifacts_missing",)),
    Row(method="storage.objects.move", act=move, finds=("artifacts_missing",)),
    Row(method="storage.objects.patch", act=patch, why=SAME_FILE),
    Row(method="storage.objects.update", act=update, why=SAME_FILE),
    Row(
        method="storage.objects.restore",
        act=restore,
        why="The same bytes are back, under another generation.",
    ),
    Row(
        method="storage.objects.bulkRestore",
        act=restore_many,
        why="The local cloud refuses it with 501; what it restores are objects as above.",
        refused=True,
    ),
    Row(
        method="storage.buckets.insert",
        act=create_bucket,
        why="The platform reads and writes the bucket of its settings only.",
    ),
    Row(
        method="storage.buckets.delete",
        act=delete_bucket,
        why="Cloud Storage refuses it for a bucket with objects, so ours cannot be deleted.",
    ),
    Row(method="storage.buckets.restore", act=restore_bucket, why=BUCKETS_OWN),
    Row(method="storage.buckets.patch", act=patch_bucket, why=BUCKETS_OWN),
    Row(method="storage.buckets.update", act=update_bucket, why=BUCKETS_OWN),
    Row(method="storage.buckets.lockRetentionPolicy", act=lock_bucket, why=BUCKETS_OWN),
    Row(
        method="storage.buckets.setIamPolicy",
        act=invite,
        why="Who else may read changes no file; if we may no more, the plane is unknown and says "
        "why.",
    ),
    Row(method="storage.hmacKey.create", act=create_key, why=NO_KEY),
    Row(method="storage.hmacKey.update", act=update_key, why=NO_KEY),
    Row(method="storage.hmacKey.delete", act=delete_key, why=NO_KEY),
    Row(method="storage.notifications.insert", act=create_notification, why=NO_TOPIC),
    Row(method="storage.notifications.delete", act=delete_notification, why=NO_TOPIC),
)
