"""A platform on its first day: a project, a bucket, no models."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser

from ml_platform.cloud.transport.channels import storage_client
from ml_platform.conf import require_settings
from ml_platform.localcloud import LocalCloud
from ml_platform.models import Project


def make_bucket(name: str) -> None:
    """Create a bucket in the configured location: the product itself never makes one."""
    storage_client().create_bucket(name, location=require_settings().LOCATION)


def load_empty(*, cloud: LocalCloud, user: AbstractBaseUser, now: datetime) -> None:
    """Make the project and the bucket."""
    make_bucket(require_settings().BUCKET)
    Project.objects.create(name="my-first-project", created_at=now).members.add(user.pk)
