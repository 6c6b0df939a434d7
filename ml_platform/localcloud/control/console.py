"""The console page: it lists the resources, and can delete them without the platform."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from google.cloud.aiplatform_v1.types import model_service as model_wire
from google.cloud.run_v2.types import service as run_wire
from google.cloud.scheduler_v1.types import cloudscheduler as scheduler_wire

from ..core.errors import CloudError
from ..server.http_types import HttpError, Reply, Request, Route
from .snapshot import inventory

if TYPE_CHECKING:
    from .. import LocalCloud

_PAGE = Template((Path(__file__).parent / "console.html").read_text(encoding="utf-8"))
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
REASON = "console"
Row = list[str]


class _Kind(NamedTuple):
    """Something that has a delete button: its method at the gate, its request, who does it."""

    method: str
    request: type
    do: Callable[[Any], Any]


class Console:
    """One page without scripts or resources of other hosts."""

    def __init__(self, cloud: LocalCloud) -> None:
        self._cloud = cloud
        self._kinds = {
            "model": _Kind(
                "ModelService.DeleteModel",
                model_wire.DeleteModelRequest,
                cloud.models.delete_model,
            ),
            "version": _Kind(
                "ModelService.DeleteModelVersion",
                model_wire.DeleteModelVersionRequest,
                cloud.models.delete_model_version,
            ),
            "service": _Kind(
                "Services.DeleteService", run_wire.DeleteServiceRequest, cloud.run.delete_service
            ),
            "job": _Kind(
                "CloudScheduler.DeleteJob",
                scheduler_wire.DeleteJobRequest,
                cloud.scheduler.delete_job,
            ),
        }

    def routes(self) -> list[Route]:
        """`/` and `/console/delete`."""
        return [
            Route("GET", "/", "", self._show),
            Route("POST", "/console/delete", "", self._delete),
        ]

    def _show(self, request: Request) -> Reply:
        cloud, names = self._cloud, self._cloud.core.names
        message = request.query.get("said", "")
        page = _PAGE.substitute(
            project=escape(cloud.project),
            projects=", ".join(
                f"{_code(project)} ({number})" for project, number in names.projects.items()
            ),
            locations=", ".join(map(_code, names.locations)),
            now=escape(f"{cloud.clock.now():%Y-%m-%d %H:%M:%S} UTC"),
            grpc=escape(cloud.grpc_target),
            http=escape(cloud.http_url),
            calls=cloud.effects.count(),
            said=f'<p class="said" role="status">{escape(message)}</p>' if message else "",
            sections="\n".join(_sections(inventory(cloud), places=len(names.places))),
        )
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
        return Reply(200, page.encode(), "text/html; charset=utf-8", headers)

    def _delete(self, request: Request) -> Reply:
        """Through the interceptor, as every client's call, with the reason `console`."""
        form = dict(request.form())
        kind, name = self._kinds.get(form.get("kind", "")), form.get("name", "")
        if kind is None or not name:
            raise HttpError(400, "invalid", "The form needs a kind and a name.")
        request_message = kind.request(name=name)
        try:
            self._cloud.core.gate(
                kind.method, request_message, lambda: kind.do(request_message), reason=REASON
            )
            message = f"Deleted {name}."
        except CloudError as error:
            message = f"Not deleted: {error.message}"
        return Reply(303, headers={"Location": f"/?said={quote(message)}"})


def _sections(found: dict[str, list[dict[str, Any]]], *, places: int) -> list[str]:
    """A section for each kind; its rows begin with their place when there are several."""
    return [
        _section(
            key.title(),
            service,
            ["Location", *head] if places > 1 else head,
            [
                [_code(f"{one['project']}/{one['location']}"), *row] if places > 1 else row
                for one in found[key]
                for row in rows(one)
            ],
            len(found[key]),
        )
        for key, (service, head, rows) in _TABLES.items()
    ]


def _model_rows(model: dict[str, Any]) -> Iterable[Row]:
    many = len(model["versions"]) > 1
    for at, one in enumerate(model["versions"]):
        buttons = [_button("version", one["name"], f"Delete v{one['version']}")] * many
        buttons += [_button("model", model["name"], "Delete model")] * (at == 0)
        yield [
            _two(model["display_name"], model["id"]) if at == 0 else "",
            escape(one["version"]),
            escape(", ".join(one["aliases"])),
            _code(one["artifact_uri"]),
            _labels(one["labels"]),
            " ".join(buttons),
        ]


def _pipeline_row(one: dict[str, Any]) -> Row:
    return [
        _two(one["display_name"], one["name"]),
        escape(one["state"]),
        escape(one["created"]),
        _labels(one["labels"]),
    ]


def _service_row(one: dict[str, Any]) -> Row:
    return [
        _two(one["id"], one["uri"]),
        escape(one["state"].removeprefix("CONDITION_")),
        _code(one["revision"]),
        _labels(one["labels"]),
        _button("service", one["name"]),
    ]


def _job_row(one: dict[str, Any]) -> Row:
    return [
        _two(one["id"], one["uri"]),
        _code(one["schedule"]),
        escape(one["state"]),
        escape(one["next"]),
        escape(f"{one['last']} {one['status']}"),
        _button("job", one["name"]),
    ]


def _endpoint_row(one: dict[str, Any]) -> Row:
    return [_two(one["display_name"], one["name"]), _code(", ".join(one["models"]))]


def _bucket_row(one: dict[str, Any]) -> Row:
    counts = (one[key] for key in ("objects", "bytes", "noncurrent", "soft_deleted"))
    return [_code(f"gs://{one['name']}"), *(f"{count:,}" for count in counts)]


def _alone(row: Callable[[dict[str, Any]], Row]) -> Callable[[dict[str, Any]], Iterable[Row]]:
    return lambda one: [row(one)]


# what the inventory calls it: (Google's service, the columns, the rows of one)
_TABLES: dict[str, tuple[str, list[str], Callable[[dict[str, Any]], Iterable[Row]]]] = {
    "models": (
        "Vertex AI Model Registry",
        ["Model", "Version", "Aliases", "Artifacts", "Labels", ""],
        _model_rows,
    ),
    "pipelines": (
        "Vertex AI Pipelines",
        ["Name", "State", "Created", "Labels"],
        _alone(_pipeline_row),
    ),
    "services": (
        "Cloud Run",
        ["Service", "State", "Ready revision", "Labels", ""],
        _alone(_service_row),
    ),
    "jobs": ("Cloud Scheduler", ["Job", "Schedule", "State", "Next", "Last", ""], _alone(_job_row)),
    "endpoints": ("Vertex AI", ["Endpoint", "Deployed models"], _alone(_endpoint_row)),
    "buckets": (
        "Cloud Storage",
        ["Bucket", "Objects", "Bytes", "Noncurrent", "Soft-deleted"],
        _alone(_bucket_row),
    ),
}


def _section(title: str, service: str, head: list[str], rows: Iterable[Row], count: int) -> str:
    body = [_row(row) for row in rows]
    cells = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    table = f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    shown = table if body else f'<p class="empty">No {escape(title.lower())}.</p>'
    heading = f"{escape(title)} <span>{count} · {escape(service)}</span>"
    return f'<section><h2>{heading}</h2><div class="box">{shown}</div></section>'


def _row(cells: Row) -> str:
    marked = (
        f'<td class="act">{cell}</td>' if "<form" in cell else f"<td>{cell}</td>" for cell in cells
    )
    return f"<tr>{''.join(marked)}</tr>"


def _button(kind: str, name: str, text: str = "Delete") -> str:
    hidden = "".join(
        f'<input type="hidden" name="{key}" value="{escape(value)}">'
        for key, value in (("kind", kind), ("name", name))
    )
    label = f"{text}: {name.rpartition('/')[2]}"
    return (
        f'<form method="post" action="/console/delete">{hidden}'
        f'<button aria-label="{escape(label)}">{escape(text)}</button></form>'
    )


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>" if text else ""


def _two(title: str, small: str) -> str:
    return f"{escape(title)}<br>{_code(small)}"


def _labels(labels: dict[str, str]) -> str:
    return "<br>".join(_code(f"{key}={value}") for key, value in sorted(labels.items()))
