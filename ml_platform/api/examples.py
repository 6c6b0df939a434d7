"""Examples of answers for the contract; a test holds each to its schema."""

from __future__ import annotations

from typing import Any

_VERSION = {
    "run": 41,
    "version": 3,
    "registration": "registered",
    "is_blessed": True,
    "metrics": {"recall_at_50": 0.4312},
    "aliases": ["default"],
    "vertex_model_resource_name": "projects/1/locations/europe-central2/models/mr-5f0c-1",
    "vertex_model_version": "3",
    "former_vertex_version": "",
    "gcs_artifacts_path": "gs://artifacts/runs/9c1d/",
    "registered_at": "2026-02-08T12:03:00Z",
    "created_at": "2026-02-08T11:00:00Z",
}
_MODEL = {
    "id": 7,
    "name": "chern_rank_v4",
    "type": "ranking",
    "project": {"id": 1, "name": "test_v1"},
    "versions": 3,
    "latest_version": _VERSION,
    "deployment": {
        "status": "outdated",
        "active_endpoints": 1,
        "endpoint": {
            "id": 2,
            "service_name": "chern-rank-v4",
            "url": "https://chern-rank-v4-abc.a.run.app",
            "version": 2,
        },
    },
    "vertex_model_resource_name": "projects/1/locations/europe-central2/models/mr-5f0c-1",
    "registry_verified": True,
    "registry_state": "verified",
    "registry_reason": "",
    "verified_at": "2026-02-08T12:10:00Z",
    "created_at": "2026-01-02T09:00:00Z",
    "url": "/api/models/7/",
}
_OPERATION = {
    "id": "0b6f0d5e-5c1f-4a57-9a5e-6a1a1f6f7a01",
    "kind": "deploy",
    "status": "running",
    "project": 1,
    "subject": {"type": "trainingrun", "id": "41", "name": "chern_rank_v4 v3"},
    "model": 7,
    "actor": {"id": 1, "name": "ana"},
    "origin": "api",
    "reason": "",
    "step": "wait",
    "steps": [
        {
            "step": "verify_model",
            "title": "Ask Vertex AI for the model",
            "status": "done",
            "note": "It is there.",
            "started_at": "2026-02-08T12:15:00Z",
            "finished_at": "2026-02-08T12:15:01Z",
        }
    ],
    "remote_operation": "",
    "cancel_requested": False,
    "error": None,
    "created_at": "2026-02-08T12:15:00Z",
    "started_at": "2026-02-08T12:15:00Z",
    "finished_at": None,
    "url": "/api/operations/0b6f0d5e-5c1f-4a57-9a5e-6a1a1f6f7a01/",
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "ModelOut": _MODEL,
    "ModelsOut": {
        "items": [_MODEL],
        "pagination": {
            "total": 8,
            "page": 1,
            "pages": 8,
            "page_size": 1,
            "next_cursor": "WyItcmVnaXN0ZXJlZCIsICIyMDI2Il0",
        },
        "kpi": {"total": 8, "deployed": 1, "outdated": 1, "idle": 6},
        "registry_check_available": True,
    },
    "OperationOut": _OPERATION,
    "PlanOut": {
        "versions": [
            {
                "run": 41,
                "version": 3,
                "vertex": "projects/1/locations/europe-central2/models/mr-5f0c-1@3",
                "aliases": ["default"],
                "size": {"objects": 12, "bytes": 84_000_000, "complete": True},
                "unsafe": "",
            }
        ],
        "siblings": [],
        "endpoints_marked": [],
        "default_moves_to": None,
        "ends_registration": True,
        "size": {"objects": 12, "bytes": 84_000_000, "complete": True},
        "blocks": [
            {
                "code": "model_deployed",
                "message": "Endpoint chern-rank-v4 is active. Undeploy it first.",
                "endpoint": 2,
            }
        ],
        "unknown": [],
    },
    "WebhookOut": {
        "status": "success",
        "message": "Orphan model cleanup completed",
        "output": "Deleted 0 orphaned RegisteredModel(s), skipped 0 with active training runs",
    },
    "SetupOut": {
        "status": "success",
        "action": "created",
        "job_name": "projects/b2b-recs/locations/europe-central2/jobs/cleanup-orphan-models",
        "schedule": "0 4 * * *",
    },
}
