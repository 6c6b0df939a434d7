"""Retells python-aiplatform's tests/system/aiplatform/test_pipeline_job(_schedule).py.

A template as kfp compiles it stands here, so that kfp is not needed. Left out: what the SDK does by
itself (experiments, the simple view's warning); its requests are sent by the clients below it.
test_initializer.py is left out as a whole: it asserts the SDK's own globals and calls no service.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient
from google.cloud.aiplatform_v1.types import PipelineState, Schedule

from ml_platform.localcloud import LocalCloud
from ml_platform.tests.localcloud.conftest import PARENT

SPEC = {
    "pipelineInfo": {"name": "training-pipeline"},
    "schemaVersion": "2.1.0",
    "sdkVersion": "kfp-2.17.3",
    "components": {
        "comp-train": {
            "executorLabel": "exec-train",
            "inputDefinitions": {
                "parameters": {
                    "learning_rate": {"parameterType": "NUMBER_DOUBLE"},
                    "number_of_epochs": {"parameterType": "NUMBER_INTEGER"},
                }
            },
        }
    },
    "deploymentSpec": {"executors": {"exec-train": {"container": {"image": "python:3.11"}}}},
    "root": {
        "dag": {
            "tasks": {
                "train": {
                    "cachingOptions": {"enableCache": True},
                    "componentRef": {"name": "comp-train"},
                    "inputs": {
                        "parameters": {
                            "learning_rate": {"runtimeValue": {"constant": 0.1}},
                            "number_of_epochs": {"componentInputParameter": "number_of_epochs"},
                        }
                    },
                    "taskInfo": {"name": "train"},
                }
            }
        },
        "inputDefinitions": {
            "parameters": {
                "number_of_epochs": {
                    "defaultValue": 2.0,
                    "isOptional": True,
                    "parameterType": "NUMBER_INTEGER",
                }
            }
        },
    },
}
JOB = {
    "pipeline_spec": SPEC,
    "runtime_config": {"gcs_output_directory": "gs://artifacts/output"},
}
# What the SDK's `enable_simple_view` asks for.
SIMPLE_VIEW = [
    "name",
    "state",
    "display_name",
    "pipeline_spec.pipeline_info",
    "create_time",
    "start_time",
    "end_time",
    "update_time",
    "labels",
    "template_uri",
    "template_metadata.version",
    "job_detail.pipeline_run_context",
    "job_detail.pipeline_context",
]


def listed(client: PipelineServiceClient, mask: list[str], **asked: Any) -> list[Any]:
    """The jobs of the list, cut to the mask."""
    return list(client.list_pipeline_jobs({"parent": PARENT, "read_mask": {"paths": mask}} | asked))


def test_a_submitted_job_ends_and_the_read_mask_hides_its_account(
    cloud: LocalCloud, pipelines: PipelineServiceClient
) -> None:
    cloud.clock.freeze()
    asked = {"parent": PARENT, "pipeline_job": JOB | {"display_name": "display_name"}}
    job = pipelines.create_pipeline_job(asked)
    cloud.clock.advance(60)
    ended = pipelines.get_pipeline_job(name=job.name)
    assert ended.state == PipelineState.PIPELINE_STATE_SUCCEEDED
    assert listed(pipelines, [])[0].service_account
    (simple,) = listed(pipelines, SIMPLE_VIEW)
    assert simple.service_account == ""
    assert (simple.display_name, simple.state) == ("display_name", ended.state)


@pytest.mark.parametrize("minutes", [2, 30])
def test_a_schedule_is_made_paused_updated_resumed_and_runs_as_often_as_told(
    cloud: LocalCloud,
    schedules: ScheduleServiceClient,
    pipelines: PipelineServiceClient,
    minutes: int,
) -> None:
    cloud.clock.freeze()
    cron, new_cron, max_run_count = "*/5 * * * *", "* * * * *", 2
    asked = {
        "display_name": "pipeline_job_schedule_display_name",
        "cron": cron,
        "max_run_count": max_run_count,
        "max_concurrent_run_count": 2,
        "create_pipeline_job_request": {"parent": PARENT, "pipeline_job": JOB},
    }
    name = schedules.create_schedule({"parent": PARENT, "schedule": asked}).name
    schedules.pause_schedule(name=name)
    found = schedules.get_schedule(name=name)
    assert (found.state, found.cron) == (Schedule.State.PAUSED, cron)

    found.cron = new_cron
    schedules.update_schedule(schedule=found, update_mask={"paths": ["cron"]})
    assert schedules.get_schedule(name=name).cron == new_cron

    schedules.resume_schedule(name=name, catch_up=True)
    assert schedules.get_schedule(name=name).state == Schedule.State.ACTIVE
    cloud.clock.advance(minutes * 60)
    assert schedules.get_schedule(name=name).state == Schedule.State.COMPLETED

    simple = listed(pipelines, SIMPLE_VIEW, filter=f"schedule_name={name}")
    assert len(simple) == max_run_count
    whole = listed(pipelines, [], filter=f"schedule_name={name}")
    assert [job.service_account != "" for job in whole] == [True, True]
    assert [job.service_account != "" for job in simple] == [False, False]
