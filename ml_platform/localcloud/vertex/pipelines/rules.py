"""What PipelineService accepts and how its lists are filtered, ordered and cut: pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from google.cloud.aiplatform_v1.types.pipeline_state import PipelineState
from google.protobuf import json_format

from ...core.errors import invalid
from ..models.rules import check_labels
from ..unsupported import refuse_set
from .runner import Job
from .spec import check_inputs

# The fields that ListPipelineJobsRequest documents for its filter and order_by, and schedule_name,
# by which the SDK lists the jobs of a schedule (pipeline_job_schedules.py, list_jobs).
FILTERS = (
    "pipeline_name",
    "display_name",
    "pipeline_job_user_id",
    "state",
    "create_time",
    "update_time",
    "end_time",
    "labels",
    "template_uri",
    "template_metadata",
    "schedule_name",
)
ORDERS = ("create_time", "update_time", "end_time", "start_time")
_OUTPUT = (
    "name",
    "create_time",
    "start_time",
    "end_time",
    "update_time",
    "state",
    "job_detail",
    "error",
    "template_metadata",
    "schedule_name",
)
# Networks, keys and validators of components, which the local cloud does not have.
_UNSUPPORTED = (
    "encryption_spec",
    "network",
    "preflight_validations",
    "psc_interface_config",
    "reserved_ip_ranges",
)


def check_job(job_id: str, job: Any) -> None:
    """INVALID_ARGUMENT for what CreatePipelineJob refuses independently of other jobs."""
    if job_id and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,126}", job_id):
        raise invalid("pipeline_job_id", "The ID must be less than 128 characters of [a-z0-9-].")
    refuse_set(job, _UNSUPPORTED)
    refuse_set(job.runtime_config, ("input_artifacts",))
    _check_directory(job.runtime_config.gcs_output_directory)
    if not job.pipeline_spec.fields:
        refuse_set(job, ("template_uri",))
        raise invalid("pipeline_job.pipeline_spec", "A pipeline spec is required.")
    if len(job.display_name) > 128:
        raise invalid("pipeline_job.display_name", "The display name has at most 128 characters.")
    check_labels(job.labels, "pipeline_job.labels")
    check_inputs(
        json_format.MessageToDict(job.pipeline_spec),
        json_format.MessageToDict(job.runtime_config),
    )


def _check_directory(directory: str) -> None:
    field = "pipeline_job.runtime_config.gcs_output_directory"
    if not directory:
        raise invalid(field, "gcs_output_directory is empty.")
    if not re.fullmatch(r"gs://[^/]+(/.*)?", directory):
        raise invalid(field, "A gs:// directory is required.")


def without_output(job: Any) -> Any:
    """The job as its client may set it."""
    for field in _OUTPUT:
        job.ClearField(field)
    return job


def field_of(job: Any, field: str) -> Any:
    """A field of FILTERS; no job here comes from a template registry."""
    if field in ("labels", "template_metadata"):
        return dict(job.labels) if field == "labels" else {}
    if field == "state":
        return PipelineState(job.state).name
    if field == "pipeline_job_user_id":
        return job.name.rpartition("/")[2]
    if field == "pipeline_name":
        return json_format.MessageToDict(job.pipeline_spec).get("pipelineInfo", {}).get("name")
    value = getattr(job, field)
    if isinstance(value, str):
        return value
    return datetime.fromisoformat(value.ToJsonString()) if job.HasField(field) else None


def order_key(job: Any, field: str) -> str:
    """The text by which a field of ORDERS sorts."""
    value = getattr(job, field)
    return f"{value.seconds:020}.{value.nanos:09}"


def check_mask(paths: Iterable[str]) -> None:
    """INVALID_ARGUMENT for a read mask that names no field of a PipelineJob."""
    for path in paths:
        if path != "*" and path.partition(".")[0] not in Job.DESCRIPTOR.fields_by_name:
            raise invalid("read_mask", f"PipelineJob has no field {path!r}.")


def masked(job: Any, paths: Iterable[str]) -> Any:
    """Only what a read mask names, all without one; it reaches into the pipeline spec.

    So the SDK's simple view asks for `pipeline_spec.pipeline_info`.
    """
    wanted = set(paths)
    if not wanted or "*" in wanted:
        return job
    tops = {path.partition(".")[0] for path in wanted}
    for descriptor, _ in job.ListFields():
        if descriptor.name not in tops:
            job.ClearField(descriptor.name)
    if "pipeline_spec" in tops and "pipeline_spec" not in wanted:
        for key in list(job.pipeline_spec.fields):
            if f"pipeline_spec.{_snake(key)}" not in wanted:
                del job.pipeline_spec.fields[key]
    return job


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
