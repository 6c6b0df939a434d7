"""Safety as code: S0 to S13, judged at every effect before its answer is sent.

A broken one is kept with its name; whoever drives the world asks for them. The judge reads our
tables through a connection of its own, so that it sees what is committed and nothing else.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models import Count, Q
from django.db.models.signals import post_save

from ml_platform.cloud.names import ModelName
from ml_platform.conf import get_settings
from ml_platform.models import DeployedEndpoint, Installation, Operation, TrainingRun
from ml_platform.models.states import (
    EndpointState,
    OperationKind,
    OperationStatus,
    Registration,
)
from ml_platform.services.ownership.labels import ENDPOINT, OPERATION, RUN
from ml_platform.tests.services.installations import MARKER

from . import planes

if TYPE_CHECKING:
    from ml_platform.localcloud import LocalCloud
    from ml_platform.localcloud.core.call_log import Call

DELETIONS = ("ModelService.DeleteModel", "ModelService.DeleteModelVersion")
SERVICE_CHANGES = {
    "Services.CreateService": (EndpointState.DEPLOYING,),
    "Services.UpdateService": (EndpointState.DEPLOYING,),
    "Services.DeleteService": (EndpointState.DEPLOYING, EndpointState.UNDEPLOYING),
}
_LOOKS = ("ModelService.GetModel", "ModelService.ListModelVersions")
MOMENT = timedelta(seconds=30)
LAG = 30.0
"""Seconds for which a read may not show what was born."""


@dataclass(frozen=True)
class Effect:
    """A change in the cloud, and the operation of ours that it says it is for."""

    call: Call
    before: Mapping[str, str] | None = None
    """Labels of the service as it was, None when there was none."""
    reborn: bool = False
    """Whether a model of this id was deleted before."""
    served: frozenset[str] = frozenset()
    """The runs to which requests go, when a version is deleted."""
    users: tuple[str, ...] = ()
    """Who points into the folder, when an object of it is deleted."""
    marker: Mapping[str, str] = field(default_factory=dict)
    """What the marker in the bucket says."""
    marker_is_new: bool = False
    """Somebody replaced it a moment ago, after the operation had read it: nobody could see that."""
    strangers: bool = False
    """Whether none of the other versions of the model that gets one had our labels when the
    operation read it."""

    @cached_property
    def operation(self) -> Operation | None:
        """None for what somebody else did."""
        _, _, key = self.call.reason.partition("operation ")
        return Operation.objects.filter(pk=uuid.UUID(key)).first() if key else None

    @property
    def repairs(self) -> bool:
        """Whether it is the repair of a finding."""
        return self.operation is not None and self.operation.kind == OperationKind.REPAIR

    @property
    def ours(self) -> bool:
        """Whether an operation of ours did it."""
        return self.call.reason.startswith("operation ")

    @property
    def relabels_service(self) -> bool:
        """Whether it writes our labels on a service that has lost them, or that is adopted."""
        relabels = ("relabel-service", "adopt-service")
        return self.operation is not None and self.operation.workflow in relabels

    @property
    def writes_labels_only(self) -> bool:
        """Whether it writes labels of the service, which make no revision."""
        taken = self.operation is not None and self.operation.workflow == "take-over-service"
        return taken or self.relabels_service

    @cached_property
    def endpoint(self) -> DeployedEndpoint | None:
        """The endpoint that the service's labels name."""
        kept = self.before is not None and not self.relabels_service
        labels = self.before if kept else self.call.labels
        uid = (labels or {}).get(ENDPOINT, "")
        return DeployedEndpoint.objects.filter(uid=uuid.UUID(uid)).first() if uid else None


def artifacts_go_last(effect: Effect) -> str:
    """S1: an object goes only by a deletion that lives, of a run that is no version and serves, or
    as a stray that a person named."""
    if effect.call.method != "storage.objects.delete" or not effect.ours:
        return ""
    name: str = effect.call.detail["name"]
    root, _, rest = name.partition("/")
    uid = rest.partition("/")[0]
    run = TrainingRun.objects.filter(uid__in=[uuid.UUID(uid)] if _is_uid(uid) else []).first()
    strays = effect.operation.data.get("strays", ()) if effect.operation else ()
    if f"gs://{get_settings().BUCKET}/{root}/{uid}/" in strays:
        return ""
    if root != get_settings().ARTIFACTS_PREFIX or run is None:
        return f"{name} is no artifact of a run"
    operation = effect.operation
    if operation is None or operation.status != OperationStatus.RUNNING:
        return f"{name} went by an operation that is not running"
    if operation.kind == OperationKind.DELETE and run.pk not in operation.data["runs"]:
        return f"{name} is of a run that the operation does not name"
    allowed = (Registration.NONE, Registration.DELETED, Registration.LOST)
    if run.registration not in allowed:
        return f"{name} went while its run was {run.registration}"
    mine = Q(run=run) | Q(intended_run=run)
    if DeployedEndpoint.objects.protecting().filter(mine).exists():
        return f"{name} went while an endpoint serves its run"
    return ""


def _is_uid(text: str) -> bool:
    return len(text) == 32 and all(c in "0123456789abcdef" for c in text)


def versions_go_unregistered(effect: Effect) -> str:
    """S2: a version goes only if it is ours, or by a repair, and no run is registered as it."""
    if effect.call.method not in DELETIONS or not effect.ours:
        return ""
    model_id = effect.call.resource.rpartition("/")[2].partition("@")[0]
    for gone in effect.call.detail["versions"]:
        if not planes.is_ours(gone["labels"]) and not effect.repairs:
            return f"{model_id}@{gone['version']} was not ours"
        held = TrainingRun.objects.filter(
            registration=Registration.REGISTERED,
            vertex_model_resource_name__endswith=f"/models/{model_id}",
            vertex_model_version=gone["version"],
        )
        if held.exists() and held.get().uid.hex == gone["labels"].get(RUN):
            return f"{model_id}@{gone['version']} is a registered version"
    return ""


def what_serves_stays(effect: Effect) -> str:
    """S12: no version goes whose revision requests may reach, whatever our rows say."""
    if effect.call.method not in DELETIONS or not effect.ours:
        return ""
    gone = {version["labels"].get(RUN, "") for version in effect.call.detail["versions"]}
    return f"requests go to {sorted(gone & effect.served)}" if gone & effect.served else ""


def services_are_ours(effect: Effect) -> str:
    """S3: a service is changed or deleted only with our labels of that very endpoint on it; only a
    repair that people ask for writes them, and not over another installation's."""
    if not effect.ours or not effect.call.method.startswith("Services."):
        return ""
    before = effect.call.labels if effect.before is None else effect.before
    labels = effect.call.labels if effect.relabels_service else before
    if planes.is_theirs(before) or not planes.is_ours(labels) or effect.endpoint is None:
        return f"{effect.call.resource} is not ours"
    if effect.endpoint.service_name != effect.call.resource.rpartition("/")[2]:
        return f"{effect.call.resource} is not the service of its endpoint"
    return ""


def only_registration_uploads(effect: Effect) -> str:
    """S4: every upload comes from a registration; a deploy never re-registers."""
    if effect.call.method != "ModelService.UploadModel" or not effect.ours:
        return ""
    kind = effect.operation.kind if effect.operation else "no operation"
    return "" if kind == OperationKind.REGISTER else f"an upload by {kind}"


def intent_comes_first(effect: Effect) -> str:
    """S5: an effect of ours has an operation that was committed before it, and names who asked."""
    if not effect.ours:
        return ""
    operation = effect.operation
    if operation is None:
        return f"{effect.call.reason} is in no table"
    return "" if operation.actor_label and operation.fence else "nobody asked for it"


def endpoints_are_marked(effect: Effect) -> str:
    """S8: a service changes only while its endpoint says so, which protects the version; so what
    serves is never deleted, and what is brought up is never unknown to our rows."""
    if not effect.ours or effect.call.method not in SERVICE_CHANGES:
        return ""
    endpoint = effect.endpoint
    state = endpoint.state if endpoint else "nowhere"
    cleans = effect.operation is not None and effect.operation.kind == OperationKind.CLEANUP
    if cleans and state == EndpointState.INACTIVE:
        return ""  # a leftover: no endpoint needs it
    if effect.writes_labels_only:
        return ""  # labels alone: what serves stays
    if state not in SERVICE_CHANGES[effect.call.method]:
        return f"{effect.call.resource} changed while its endpoint is {state}"
    return ""


def ids_are_used_once(effect: Effect) -> str:
    """S11: a model id that a version of ours had is never used again after its model went; what
    went before we knew of it had no pointer that could come to mean something else."""
    if effect.call.method != "ModelService.UploadModel" or not effect.ours or not effect.reborn:
        return ""
    model_id = effect.call.resource.rpartition("/")[2].partition("@")[0]
    known = Q(last_vertex_version__contains=f"/models/{model_id}@")
    known |= Q(vertex_model_resource_name__endswith=f"/models/{model_id}")
    return f"{model_id} was there before" if TrainingRun.objects.filter(known).exists() else ""


def one_at_a_time(effect: Effect) -> str:
    """S9: at most one operation runs for one lineage or one service name."""
    del effect
    running = Operation.objects.filter(status=OperationStatus.RUNNING).order_by()
    for key in ("lineage_key", "service_key"):
        held = running.exclude(**{key: ""}).values(key).annotate(n=Count("pk")).filter(n__gt=1)
        if held.exists():
            return f"{held[0]['n']} operations run for {held[0][key]}"
    return ""


def in_our_place(effect: Effect) -> str:
    """S10: no effect outside the configured project, location and bucket."""
    if not effect.ours:
        return ""
    settings = get_settings()
    if effect.call.method.startswith("storage."):
        bucket = effect.call.resource.partition("/")[0]
        return "" if bucket == settings.BUCKET else f"{effect.call.resource} is in another bucket"
    parts = effect.call.resource.split("/")
    fine = parts[0] == "projects" and parts[3] == settings.LOCATION
    return "" if fine else f"{effect.call.resource} is in another place"


def what_is_used_stays(effect: Effect) -> str:
    """S13: no object goes to which a version or a service points."""
    if effect.call.method != "storage.objects.delete" or not effect.ours:
        return ""
    return f"{effect.call.detail['name']} is used by {effect.users}" if effect.users else ""


def _uids_of(operation: Operation | None) -> set[str]:
    """The runs that an operation names."""
    pks = operation.data.get("runs", ()) if operation else ()
    runs = TrainingRun.objects.filter(pk__in=pks)
    return {uid.hex for uid in runs.values_list("uid", flat=True)}


def foreign_stays(effect: Effect) -> str:
    """S14: a version without our label of the run is not deleted, gets no alias, and its model gets
    no version; only a person who decides about it, or a repair, may do so."""
    operation = effect.operation
    if not effect.ours or operation is None or effect.repairs:
        return ""
    if effect.call.method in DELETIONS and operation.kind == OperationKind.DELETE:
        mine = _uids_of(operation)
        gone = effect.call.detail["versions"]
        other = [v["version"] for v in gone if v["labels"].get(RUN) not in mine]
        return f"{effect.call.resource}: {other} have no label of a run to delete" if other else ""
    if effect.call.method == "ModelService.MergeVersionAliases":
        held = effect.call.labels
        ours = planes.is_ours(held) and bool(held.get(RUN))
        return "" if ours else f"{effect.call.resource} got an alias and is not ours"
    if effect.call.method == "ModelService.UploadModel" and effect.strangers:
        return f"{effect.call.resource} is among versions of others"
    return ""


def confirmed_destroys(effect: Effect) -> str:
    """S16: a version, an object or a service goes only while the marker in the bucket is the one
    that our database knows: not after a backup was restored, or where another has confirmed. A
    deploy may take back the service that it made itself."""
    destroys = (*DELETIONS, "storage.objects.delete", "Services.DeleteService")
    if not effect.ours or effect.call.method not in destroys or effect.marker_is_new:
        return ""
    operation = effect.operation
    if operation and (effect.before or {}).get(OPERATION) == operation.pk.hex:
        return ""
    row = Installation.objects.get()
    said = effect.marker
    known = said.get("uid") == row.uid.hex and said.get("nonce") in (row.nonce, row.next_nonce)
    return "" if known else f"{effect.call.resource} went, and the marker is {said}"


SAFETY: Mapping[str, Callable[[Effect], str]] = {
    "S1 artifacts go last": artifacts_go_last,
    "S2 versions go unregistered": versions_go_unregistered,
    "S3 services are ours": services_are_ours,
    "S4 only registration uploads": only_registration_uploads,
    "S5 intent comes first": intent_comes_first,
    "S8 endpoints are marked": endpoints_are_marked,
    "S9 one at a time": one_at_a_time,
    "S10 in our place": in_our_place,
    "S11 ids are used once": ids_are_used_once,
    "S12 what serves stays": what_serves_stays,
    "S13 what is used stays": what_is_used_stays,
    "S14 foreign stays": foreign_stays,
    "S16 a confirmed database destroys": confirmed_destroys,
}
"""Name and predicate; a predicate answers '' or what was wrong. S0 is in `tests.boundaries`."""


@dataclass
class Judge:
    """Watches one cloud and our tables; `broken` has what was wrong, in order."""

    cloud: LocalCloud
    broken: list[str] = field(default_factory=list)
    _services: dict[str, dict[str, str]] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)
    _seen: dict[uuid.UUID, tuple[str, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    neighbour_acts: bool = False
    """Another installation acts: what it does is not ours, and not judged here."""
    not_judged: set[int] = field(default_factory=set)
    """Changes by the neighbour, or before a backup of our tables was restored."""
    _pointers: list[tuple[str, str]] | None = None
    """What points at files; None once something else than an object has changed."""

    @contextmanager
    def sitting(self) -> Iterator[Judge]:
        """Judge from now on, until the end of the block or a reset of the cloud."""
        self._pointers = None
        self._services = {key: dict(s.labels) for key, s in planes.services(self.cloud).items()}
        self._own = connections.create_connection("default")
        self._own.inc_thread_sharing()
        leave = self.cloud.effects.subscribe(self._judge)
        post_save.connect(self._saved, sender=TrainingRun)
        try:
            yield self
        finally:
            post_save.disconnect(self._saved, sender=TrainingRun)
            leave()
            self._own.close()

    def look(self) -> None:
        """S7: what has ended stays as it is, and a fence only grows."""
        self._pointers = None
        rows = Operation.objects.values_list("pk", "status", "fence")
        ended = (OperationStatus.SUCCEEDED, OperationStatus.CANCELLED)
        for key, status, fence in rows:
            was, before = self._seen.get(key, ("", 0))
            if (was in ended and status != was) or fence < before:
                self.broken.append(
                    f"S7 what has ended stays: {key} {was} {before} {status} {fence}"
                )
            self._seen[key] = (status, fence)

    def forget(self) -> None:
        """A backup of our tables was restored: what was before is in none of them."""
        self._seen.clear()
        self.not_judged.update(call.seq for call in self.cloud.effects.mutations())

    def _judge(self, call: Call) -> None:
        with self._lock:
            before = self._track(call)
            if not call.method.startswith("storage."):
                self._pointers = None
            if self.neighbour_acts:
                self.not_judged.add(call.seq)
                return
            here = connections["default"]
            connections["default"] = self._own
            try:
                effect = Effect(
                    call,
                    before,
                    self._is_reborn(call),
                    self._served(call),
                    self._users(call),
                    planes.marker(self.cloud),
                    marker_is_new=self._is_marker_new(call),
                    strangers=self._is_among_strangers(call),
                )
                for name, predicate in SAFETY.items():
                    if wrong := predicate(effect):
                        self.broken.append(f"{name}: {wrong} ({call.method}, {call.reason})")
            finally:
                connections["default"] = here

    def _track(self, call: Call) -> Mapping[str, str] | None:
        """Remember each service's labels; returns those before this change."""
        if not call.method.startswith("Services."):
            return None
        key = call.resource.rpartition("/")[2]
        if call.method == "Services.SetIamPolicy":
            return self._services.get(key)
        before = self._services.pop(key, None)
        if call.method != "Services.DeleteService":
            self._services[key] = dict(call.labels)
        return before

    def _served(self, call: Call) -> frozenset[str]:
        if call.method not in DELETIONS:
            return frozenset()
        mine = [k for k, s in planes.services(self.cloud).items() if planes.is_ours(s.labels)]
        return frozenset(uid for key in mine for uid in planes.served_by(self.cloud, key) if uid)

    def _users(self, call: Call) -> tuple[str, ...]:
        if call.method != "storage.objects.delete":
            return ()
        if self._pointers is None:
            self._pointers = planes.pointers(self.cloud)
        return tuple(planes.users_of(call.detail["name"], self._pointers))

    def _is_marker_new(self, effect: Call) -> bool:
        if effect.method not in (*DELETIONS, "storage.objects.delete", "Services.DeleteService"):
            return False
        calls = self.cloud.effects.calls("storage.objects.*")
        about = [call for call in calls if call.resource.endswith(f"/{MARKER}")]
        reads = [c.seq for c in about if c.reason == effect.reason and not c.mutating]
        writes = [c for c in about if c.mutating and c.seq < effect.seq]
        if not reads or not writes or writes[-1].seq < max(reads):
            return False
        return effect.at - writes[-1].at < MOMENT

    def _is_among_strangers(self, call: Call) -> bool:
        if call.method != "ModelService.UploadModel":
            return False
        model_id, _, number = call.resource.rpartition("/")[2].partition("@")
        there = [v for v in planes.versions(self.cloud) if v.model_id == model_id]
        others = [v for v in there if v.version != number]
        if not others or any(planes.is_ours(v.labels) for v in others):
            return False
        return not self._changed_since_the_look(call, model_id)

    def _changed_since_the_look(self, upload: Call, model_id: str) -> bool:
        """Whether people changed the model after the operation read it: an upload has no
        precondition, so this is the moment in which nobody can see it."""

        def about(call: Call) -> bool:
            return call.resource.rpartition("/")[2].partition("@")[0] == model_id

        calls = [call for call in self.cloud.effects.calls("ModelService.*") if about(call)]
        mine = [c for c in calls if c.reason == upload.reason and c.seq <= upload.seq]
        sent = min((c.seq for c in mine if c.method == upload.method), default=upload.seq)
        looks = [c.seq for c in mine if c.method in _LOOKS and c.seq < sent]
        theirs = [c.seq for c in calls if c.mutating and not c.reason.startswith("operation ")]
        return bool(looks) and any(seq > max(looks) for seq in theirs)

    def _is_reborn(self, call: Call) -> bool:
        """Remember which models went; whether this one comes for a second time."""
        model_id, _, number = call.resource.rpartition("/")[2].partition("@")
        if call.method == "ModelService.DeleteModel":
            self._gone.add(model_id)
        return number == "1" and model_id in self._gone

    def _saved(self, instance: TrainingRun, **_: Any) -> None:
        """S6: what becomes lost is really gone."""
        if instance.registration != Registration.LOST or not instance.last_vertex_version:
            return
        name = ModelName.parse(instance.last_vertex_version)
        there = planes.version(self.cloud, name.model_id, name.version)
        if there is not None and there.labels.get(RUN) == instance.uid.hex:
            self.broken.append(f"S6 lost is lost: {name} is there")
