"""What people do to a service in the console or with gcloud, by Google's own client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ml_platform.cloud.transport import channels


def see_service(service_id: str) -> Any:
    """The service as Google's client shows it."""
    name = f"{channels.location_path()}/services/{service_id}"
    return channels.client("Services").get_service(name=name)


def edit_service(service_id: str, change: Callable[[Any], None]) -> None:
    """Read the service, change it and write it back."""
    service = see_service(service_id)
    change(service)
    channels.client("Services").update_service(service=service)


def deploy_by_hand(service_id: str, labels: Mapping[str, str]) -> None:
    """Another image, and these labels in place of what was there."""

    def change(service: Any) -> None:
        service.labels = dict(labels)
        service.template.labels = dict(labels)
        service.template.containers[0].image = "by-hand"

    edit_service(service_id, change)
