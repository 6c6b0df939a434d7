"""Defects of sweeps, comparisons, findings and repairs."""

from __future__ import annotations

from itertools import chain

from .defect import Defect, defects_in

DRIFT = "unit/test_drift.py"
SERVICE_DRIFT = "unit/test_service_drift.py"
SWEEPING = "services/test_sweeping.py"
ENDS = "services/test_sweeping_ends.py"
RECONCILIATION = "services/test_reconciliation.py"

DEFECTS: tuple[Defect, ...] = tuple(
    chain(
        defects_in(
            "services/findings/compare_models.py",
            DRIFT,
            other_installation_is_ours=(
                "_is_pointed_at(lineage, seen, labelled) and seen.owner == place.owner",
                "_is_pointed_at(lineage, seen, labelled)",
            ),
            default_version_is_not_compared=(
                "        and labelled.vertex_version == seen.version\n",
                "",
            ),
            deleted_run_has_no_surplus=(
                "    if run.registration == Registration.DELETED:\n        return True",
                "    if run.registration == Registration.DELETED:\n        return False",
            ),
            reborn_at_once=(
                "born > lineage.registered_at + REBORN_MARGIN",
                "born > lineage.registered_at",
                f"{DRIFT} {RECONCILIATION}",
            ),
            lost_version_is_not_seen_back=(
                "lost = labelled is not None and labelled.registration == Registration.LOST",
                "lost = False",
            ),
        ),
        defects_in(
            "services/findings/compare_services.py",
            SERVICE_DRIFT,
            serving_endpoint_is_a_leftover=(
                "if any(row.is_active or row.state != EndpointState.INACTIVE for row in rows):",
                "if False:",
            ),
            copy_is_ours_to_delete=("stands_for_it = None if copied else", "stands_for_it ="),
            strange_traffic_is_fine=(
                "    if not strange:\n",
                "    if True:\n",
                "unit/test_service_traffic.py",
            ),
            foreign_labels_are_fine=(
                "if seen.owner != owner or seen.endpoint_uid != endpoint.uid:",
                "if False:",
            ),
        ),
        defects_in(
            "services/findings/store.py",
            f"{SWEEPING} {RECONCILIATION}",
            one_look_counts_for_ever=('update(looks=F("looks") + 1)', 'update(looks=F("looks"))'),
            unseen_stays_open=(
                "status=FindingStatus.GONE, ended_at=now)\n\n\ndef end_surplus",
                "ended_at=None)\n\n\ndef end_surplus",
            ),
            ignored_without_a_reason=("if ignored and not reason:", "if False:", RECONCILIATION),
            ignored_twice=("if not moved:", "if False:", RECONCILIATION),
        ),
        defects_in(
            "services/sweeps/sweep.py",
            ENDS,
            killed_sweep_runs_for_ever=("    _end_abandoned(started)\n", ""),
            exception_leaves_it_running=(
                "        _interrupt(current, clock)\n        raise",
                "        raise",
            ),
            partial_sweep_is_complete=(
                "SweepStatus.COMPLETE if complete else SweepStatus.PARTIAL",
                "SweepStatus.COMPLETE",
                SWEEPING,
            ),
            unread_plane_forgets_its_rows=(
                "    if not isinstance(answer, Present):\n        code",
                "    if False:\n        code",
                SWEEPING,
            ),
        ),
        defects_in(
            "services/repairs/pointers.py",
            RECONCILIATION,
            unknown_is_lost=(
                "    if isinstance(parent, Unknown):\n        raise _unavailable(parent)\n",
                "",
            ),
            siblings_are_lost_too=("    if len(gone) == len(runs):", "    if gone:"),
        ),
        defects_in(
            "services/repairs/reconciliation.py",
            RECONCILIATION,
            ended_finding_is_repaired=("if finding.status != FindingStatus.OPEN:", "if False:"),
            unsafe_kind_is_repaired=(
                "if lineage is None or not is_safe(finding):",
                "if lineage is None:",
            ),
        ),
        defects_in(
            "services/repairs/duplicate_versions.py",
            "services/test_surplus.py",
            copied_model_is_purged=(
                "    require_own(name, registered_model)\n",
                "",
                "doors/test_copies.py",
            ),
            whole_model_with_a_pointer_goes=("        _require_unpointed(name)\n", ""),
        ),
        defects_in(
            "services/cleanup/orphan_batches.py",
            "services/test_orphan_cleanup.py",
            held_name_is_no_need=(
                "        if lineage_key(project_id=project_id, model_name=name) in held:",
                "        if False:",
            ),
            young_name_is_an_orphan=(
                "never_registered().filter(created_at__lt=created_before)",
                "never_registered()",
            ),
        ),
        defects_in(
            "services/cleanup/artifact_candidates.py",
            "services/test_artifact_cleanup.py",
            lost_files_go_without_asking=(
                "    if run.registration == Registration.LOST:\n"
                "        return _reason_of_vertex(run)\n",
                "",
            ),
            served_files_are_candidates=(
                ".exclude(Exists(served) | Exists(busy))",
                ".exclude(Exists(busy))",
            ),
            young_runs_are_candidates=("created_at__lt=old)", "created_at__isnull=False)"),
        ),
    )
)
