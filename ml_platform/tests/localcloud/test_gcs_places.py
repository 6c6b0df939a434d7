"""Deleted buckets, service agents and lifecycle rules of Cloud Storage in several projects."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.api_core import exceptions

from .test_places import PROJECTS, world_of


def test_a_deleted_bucket_stays_with_its_project() -> None:
    with world_of() as world:
        ours, theirs = world.gcs("demo-project"), world.gcs("other-project")
        gone = theirs.create_bucket("theirs")
        gone.delete()
        assert not list(ours.list_buckets(soft_deleted=True))
        assert [bucket.name for bucket in theirs.list_buckets(soft_deleted=True)] == ["theirs"]
        ours.restore_bucket("theirs", gone.generation)
        assert theirs.get_bucket("theirs").project_number == PROJECTS["other-project"]


def test_each_project_has_its_service_agent_of_cloud_storage() -> None:
    with world_of() as world:
        for project, number in PROJECTS.items():
            for form in (project, str(number)):
                email = world.gcs(form).get_service_account_email()
                assert email == f"service-{number}@gs-project-accounts.iam.gserviceaccount.com"
        with pytest.raises(exceptions.Forbidden):
            world.gcs("third-project").get_service_account_email()


def test_lifecycle_rules_run_once_for_the_buckets_of_all_projects(tmp_path: Path) -> None:
    with world_of(state=tmp_path / "state.db") as world:
        world.cloud.clock.freeze()
        for project in PROJECTS:
            bucket = world.gcs(project).create_bucket(f"{project}-bucket")
            bucket.add_lifecycle_delete_rule(age=1)
            bucket.patch()
            bucket.blob("old").upload_from_string(b"old")
    with world_of(state=tmp_path / "state.db") as world:
        timers = [key for _, key in world.cloud.clock.pending() if key == "gcs-lifecycle"]
        assert len(timers) == 1
        world.cloud.clock.advance(2 * 86400)
        for project in PROJECTS:
            assert not list(world.gcs(project).list_blobs(f"{project}-bucket"))
