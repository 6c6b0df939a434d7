"""The incident as data: what each plane had on the day of the four counts 10, 10, 8 and 9.

Ages are in days before the demo starts.
"""

from __future__ import annotations

from dataclasses import dataclass

from ml_platform.models.states import EndpointState, Frequency, ModelType, RunStatus, ScheduleState

PROJECT = "test_v1"
QUICKTEST_BUCKET = "b2b-recs-quicktest-artifacts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """A row of our table. `versions` are the ages of its versions; without one it is an orphan."""

    name: str
    created: float
    vertex_id: str = ""
    versions: tuple[float, ...] = ()
    quality: float = 0.0
    """Recall@100 of the first version."""
    in_vertex: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A model in Vertex AI without a row or a label of ours."""

    name: str
    vertex_id: str
    created: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule of a lineage; `ended` ones have no job in Cloud Scheduler any more."""

    name: str
    lineage: str
    state: ScheduleState
    frequency: Frequency
    created: float
    cron: str = ""
    """Empty for a schedule that ran once, at a time that follows from its age."""
    first_version: int = 0
    """The first version of the lineage that it made; it made all later ones. 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that became no version."""

    name: str
    status: RunStatus
    age: float
    stage: str = ""
    error: str = ""
    schedule: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One of our Cloud Run services; that of an inactive endpoint was deleted."""

    service: str
    lineage: str
    state: EndpointState
    deployed: float
    """When its present version was deployed."""
    created: float
    requests: int = 0
    """On a recent day."""


_TYPES = {"_rank_": ModelType.RANKING, "_hybrid_": ModelType.HYBRID}


def type_of(name: str) -> ModelType:
    """Return the type of a model, which follows from its name."""
    return next((kind for part, kind in _TYPES.items() if part in name), ModelType.RETRIEVAL)


def metrics(name: str, recall_at_100: float) -> dict[str, float]:
    """Return the metrics that an evaluator writes for a model of that name and quality."""
    shares = {5: 0.21, 10: 0.34, 50: 0.76, 100: 1.0}
    found = {f"recall_at_{k}": round(recall_at_100 * share, 4) for k, share in shares.items()}
    if type_of(name) == ModelType.RETRIEVAL:
        return found
    return {**found, "rmse": round(0.9 - recall_at_100, 4), "mae": round(0.7 - recall_at_100, 4)}


# In the order of their ids, 1 to 10.
LINEAGES = (
    Lineage(name="chern_retriv_v2", created=78,
            vertex_id="5241525861236080640", versions=(77.2,), quality=0.318),
    Lineage(name="chern_retriv_v5", created=61,
            vertex_id="8920403806844354560", versions=(60.1, 43.4, 24.2, 10.2, 3.2), quality=0.371),
    Lineage(name="chern_rank_v1", created=58,
            vertex_id="6812719181234962432", versions=(57.3,), quality=0.287, in_vertex=False),
    Lineage(name="chern_hybrid_v1", created=49,
            vertex_id="174413330490851328", versions=(48.5, 30.6), quality=0.352),
    Lineage(name="chern_hybrid_v2", created=41),
    Lineage(name="chern_hybrid_v3", created=33,
            vertex_id="7115797362408161280", versions=(32.4,), quality=0.383),
    Lineage(name="short-test-20260129", created=10.6),
    Lineage(name="chern_rank_v3", created=28,
            vertex_id="2864962264123834368", versions=(27.7,), quality=0.296),
    Lineage(name="chern_rank_v4", created=22,
            vertex_id="3326581225929310208", versions=(21.4, 15.3, 9.1, 4.6), quality=0.309),
    Lineage(name="chern_retriv_v6", created=7.8,
            vertex_id="7334503419312340992", versions=(7.1,), quality=0.404),
)  # fmt: skip

FOREIGN = (
    Foreign(name="trd-test-20260129-123106", vertex_id="252311530295525376", created=10.5),
    Foreign(name="trd-test-20260129-123928", vertex_id="4998894431311495168", created=10.49),
)

NIGHTLY = "Retrieval, every night"
HYBRID_WEEKLY = "Hybrid v2, every week"
SHORT_TEST = "Short test"

SCHEDULES = (
    Schedule(name=NIGHTLY, lineage="chern_retriv_v5", state=ScheduleState.ACTIVE,
             frequency=Frequency.DAILY, cron="0 4 * * *", created=11, first_version=4),
    Schedule(name=HYBRID_WEEKLY, lineage="chern_hybrid_v2", state=ScheduleState.CANCELLED,
             frequency=Frequency.WEEKLY, cron="30 2 * * 1", created=41),
    Schedule(name=SHORT_TEST, lineage="short-test-20260129", state=ScheduleState.COMPLETED,
             frequency=Frequency.ONCE, created=10.6),
)  # fmt: skip

FAILED, CANCELLED, NOT_BLESSED = RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.NOT_BLESSED
MEMORY = "The train task ended with exit code 137: out of memory."
SCHEMA = "The transform task failed: feature 'category_id' is missing from the schema."
BIGQUERY = "The ingest task failed: BigQuery table b2b-recs:raw.transactions was not found."
WORSE = "Its recall@100 is below that of the version before."

RUNS = (
    Run(name="chern_rank_v1", status=FAILED, age=58.4, stage="transform", error=SCHEMA),
    Run(name="chern_rank_v2", status=FAILED, age=52.8, stage="train", error=MEMORY),
    Run(name="chern_rank_v2", status=CANCELLED, age=52.3, stage="train"),
    Run(name="chern_retriv_v3", status=FAILED, age=74.4, stage="ingest", error=BIGQUERY),
    Run(name="chern_retriv_v4", status=NOT_BLESSED, age=66.2, error=WORSE),
    Run(name="chern_retriv_v5", status=FAILED, age=60.9, stage="train", error=MEMORY),
    Run(name="chern_hybrid_v1", status=NOT_BLESSED, age=47.1, error=WORSE),
    Run(name="chern_hybrid_v3", status=FAILED, age=32.9, stage="train", error=MEMORY),
    Run(name="chern_rank_v3", status=FAILED, age=27.9, stage="evaluate",
        error="The evaluate task failed: the baseline model could not be loaded."),
    Run(name="chern_rank_v4", status=NOT_BLESSED, age=18.2, error=WORSE),
    Run(name="chern_rank_v4", status=CANCELLED, age=12.7, stage="transform"),
    Run(name="chern_retriv_v6", status=FAILED, age=7.7, stage="transform", error=SCHEMA),
    Run(name="chern_hybrid_v2", status=FAILED, age=40.2, stage="train", error=MEMORY,
        schedule=HYBRID_WEEKLY),
    Run(name="chern_hybrid_v2", status=FAILED, age=33.2, stage="train", error=MEMORY,
        schedule=HYBRID_WEEKLY),
    Run(name="chern_hybrid_v2", status=FAILED, age=26.2, stage="train", error=MEMORY,
        schedule=HYBRID_WEEKLY),
    Run(name="short-test-20260129", status=FAILED, age=10.5, stage="ingest", error=BIGQUERY,
        schedule=SHORT_TEST),
    *(Run(name="chern_retriv_v5", status=NOT_BLESSED, age=age, error=WORSE, schedule=NIGHTLY)
      for age in (9.2, 8.2, 7.2, 5.2, 4.2, 2.2, 1.2)),
    Run(name="chern_retriv_v5", status=FAILED, age=6.2, stage="ingest", error=BIGQUERY,
        schedule=NIGHTLY),
)  # fmt: skip

ENDPOINTS = (
    Endpoint(service="test-v1-retriv", lineage="chern_retriv_v5", state=EndpointState.ACTIVE,
             created=42.3, deployed=2.9, requests=18_400),
    Endpoint(service="test-v1-rank", lineage="chern_rank_v4", state=EndpointState.ACTIVE,
             created=20.8, deployed=4.4, requests=17_900),
    Endpoint(service="test-v1-hybrid", lineage="chern_hybrid_v1", state=EndpointState.ACTIVE,
             created=46.1, deployed=30.2, requests=2_300),
    Endpoint(service="test-v1-rank-v3", lineage="chern_rank_v3", state=EndpointState.INACTIVE,
             created=27.1, deployed=27.1),
)  # fmt: skip

TRAINING_NOW = "chern_retriv_v7"
"""A run that has not ended and will not be blessed. It is not a version, so it is not counted."""
DEPLOYING_NOW = ("chern_hybrid_v3", "test-v1-hybrid-v3")
"""The lineage and the service of the deploy that has not ended."""
