"""The compiled pipeline that the demo's runs are made of, as a user's lies in the bucket."""

from __future__ import annotations

import json

from ml_platform.cloud import storage
from ml_platform.conf import require_settings

KEY = "pipelines/train.json"
STAGES = ("ingest", "transform", "train", "evaluate", "push")
PARAMETERS = {"epochs": 12, "learning_rate": 0.05}


def write_pipeline() -> str:
    """Put it into the bucket; returns its `gs://` address."""
    bucket = require_settings().BUCKET
    storage.write_text(bucket, KEY, json.dumps(_compiled()))
    return template_uri()


def template_uri() -> str:
    """Where it is."""
    return f"gs://{require_settings().BUCKET}/{KEY}"


def _compiled() -> dict[str, object]:
    """Each stage behind the one before it, in the words of KFP's compiler."""
    tasks = {
        stage: {
            "taskInfo": {"name": stage},
            "componentRef": {"name": f"comp-{stage}"},
            "dependentTasks": list(STAGES[max(0, number - 1) : number]),
        }
        for number, stage in enumerate(STAGES)
    }
    return {
        "pipelineInfo": {"name": "train-recommender"},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.7.0",
        "components": {f"comp-{stage}": {"executorLabel": f"exec-{stage}"} for stage in STAGES},
        "deploymentSpec": {"executors": {f"exec-{stage}": {} for stage in STAGES}},
        "root": {
            "dag": {"tasks": tasks},
            "inputDefinitions": {
                "parameters": {
                    "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 12},
                    "learning_rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.05},
                }
            },
        },
    }
