"""Defects of sweeps, comparisons, findings and repairs."""

from __future__ import annotations

from itertools import chain

from .defect import Defect, defects_in

DRIFT = "unit/test_drift.py"
SERVICE_DRIFT = "unit/test_service_drift.py"
SWEEPING = "services/test_sweeping.py"
ENDS = "services/test_sweeping_ends.py"
IN_ORDER = "test_a_sweep_of_what_is_in_order_writes_no_row_and_is_the_time_of_the_answers"
FOREIGN = "services/test_foreign.py"
BRAKE = "services/test_brake.py"
RECONCILIATION = "services/test_reconciliation.py"

DEFECTS: tuple[Defect, ...] = tuple(
    chain(
        defects_in(
            "services/sweeps/planes/models.py",
            FOREIGN,
            labels_that_are_not_listed_are_fine=(
                "        _hold_labels(chunk, compared, reading.sweep)\n",
                "",
            ),
            foreign_model_is_suspected=(
                "one.kind == FindingKind.LABELS_CHANGED:",
                "False:",
            ),
        ),
        defects_in(
            "services/sweeps/planes/settled.py",
            f"{SWEEPING}::{IN_ORDER}",
            what_is_worked_on_is_judged=(
                "Exists(_recorded_as_listed(place)))\n        | _is_touched(reading)\n",
                "Exists(_recorded_as_listed(place)))\n",
            ),
            files_of_what_is_worked_on_are_judged=(
                "~settled | _is_touched(reading) | unstored",
                "~settled | unstored",
            ),
        ),
        defects_in(
            "services/sweeps/planes/settled.py",
            FOREIGN,
            label_finding_is_settled=(
                '        | Q(pk__in=labels.values("registered_model"))\n',
                "",
            ),
        ),
        defects_in(
            "services/sweeps/mirrored.py",
            f"{SWEEPING}::{IN_ORDER}",
            all_is_written_again=('if content == f"{written_by} {digests[name]}"', "if False"),
        ),
        defects_in(
            "services/ownership/identification.py",
            FOREIGN,
            another_owner_is_relabeled=("    if theirs:\n", "    if False:\n"),
            later_version_is_relabeled=(
                "if made_at > run.registered_at + REBORN_MARGIN:",
                "if False:",
            ),
            files_elsewhere_are_relabeled=(
                "if not holds_files_of(run, artifact_uri):",
                "if False:",
            ),
        ),
        defects_in(
            "services/repairs/labels.py",
            FOREIGN,
            relabeling_removes_other_labels=("labels = dict(model.labels) | ours", "labels = ours"),
            other_files_are_relabeled=("        elif different.value:\n", "        elif False:\n"),
        ),
        defects_in(
            "services/repairs/service_labels.py",
            FOREIGN,
            other_image_is_relabeled=(" and service.image == image\n", "\n"),
        ),
        defects_in(
            "services/repairs/duplicate_versions.py",
            "services/test_surplus.py",
            foreign_pointer_is_moved=(
                "        require_own_version(answer.value, run)\n        return pointer\n",
                "        pass\n",
            ),
        ),
        defects_in(
            "services/findings/comparisons/models.py",
            DRIFT,
            other_installation_is_ours=(
                "        place.owns(seen)\n        and labelled is not None\n",
                "        labelled is not None\n",
                "unit/test_drift.py::test_a_pointer_is_name_version_and_label",
            ),
            default_version_is_not_compared=(
                "        and labelled.vertex_model_version == seen.version\n",
                "",
                "unit/test_drift.py::test_a_pointer_is_name_version_and_label",
            ),
            foreign_version_is_a_mismatch=(
                "if pointed and labelled in (None, pointed):",
                "if False:",
                FOREIGN,
            ),
            deleted_run_has_no_surplus=(
                "    if run.registration == Registration.DELETED:\n        return True",
                "    if run.registration == Registration.DELETED:\n        return False",
                "unit/test_drift.py::test_a_pointer_is_name_version_and_label",
            ),
            reborn_at_once=(
                "created > registered_since(lineage) + REBORN_MARGIN",
                "created > registered_since(lineage)",
                "services/test_reconciliation.py"
                "::test_a_version_whose_labels_were_taken_away_is_kept",
            ),
            lost_version_is_not_seen_back=(
                "lost = ours is not None and ours.registration == Registration.LOST",
                "lost = False",
                "unit/test_drift.py::test_what_no_version_points_at_is_unmanaged_or_back",
            ),
        ),
        defects_in(
            "services/findings/comparisons/services.py",
            SERVICE_DRIFT,
            serving_endpoint_is_a_leftover=(
                "if any(row.is_active or row.state != EndpointState.INACTIVE for row in rows):",
                "if False:",
                "unit/test_service_drift.py"
                "::test_a_service_is_left_over_when_no_endpoint_may_need_it",
            ),
            copy_is_ours_to_delete=(
                "known = None if copied else named",
                "known = named",
                "unit/test_service_drift.py"
                "::test_a_service_is_left_over_when_no_endpoint_may_need_it",
            ),
            strange_traffic_is_fine=(
                "    if not unexpected:\n",
                "    if True:\n",
                "unit/test_service_traffic.py",
            ),
            foreign_labels_are_fine=(
                "if theirs or seen.owner != owner or seen.endpoint_uid != endpoint.uid.hex:",
                "if False:",
                "unit/test_service_drift.py"
                "::test_an_active_endpoint_has_its_service_with_its_labels_and_its_run",
            ),
        ),
        defects_in(
            "services/findings/store.py",
            f"{SWEEPING} {RECONCILIATION}",
            one_look_counts_for_ever=(
                'consecutive_sightings=F("consecutive_sightings") + 1',
                'consecutive_sightings=F("consecutive_sightings")',
                "services/test_sweeping.py::test_a_model_is_missing_only_at_the_second_look",
            ),
        ),
        defects_in(
            "services/findings/endings.py",
            f"{SWEEPING} {RECONCILIATION}",
            unseen_stays_open=(
                "return _end(unseen.filter(seen_before(sweep)), FindingStatus.GONE, now, by=sweep)",
                "return unseen.filter(seen_before(sweep)).count()",
                "services/test_sweeping.py"
                "::test_a_model_that_is_listed_again_ends_its_finding_and_is_verified",
            ),
        ),
        defects_in(
            "services/findings/endings.py",
            "services/test_finding_ends.py",
            ignored_for_ever=(
                "ignored_at__lte=now - ignored_for()",
                "ignored_at__lte=now - 9 * ignored_for()",
            ),
        ),
        defects_in(
            "services/findings/store.py",
            "services/test_finding_ends.py",
            google_tells_an_earlier_change=(
                " and (right_at is None or told >= right_at):",
                ":",
            ),
        ),
        defects_in(
            "services/sweeps/shrinking.py",
            BRAKE,
            short_listing_is_believed=(
                "return lacks > FLOOR and lacks * PARTS > had",
                "return False",
            ),
            confirmation_is_of_whatever_lacks=(
                "lacks=max(0, lacks - _confirmed(name))",
                "lacks=0 if _confirmed(name) else lacks",
            ),
        ),
        defects_in(
            "services/mirror/brake.py",
            BRAKE,
            not_found_proves_under_an_alarm=(
                "    if why := why_unbelieved(*planes):\n        raise",
                "    if why := '':\n        raise",
            ),
        ),
        defects_in(
            "services/sweeps/sweep.py",
            ENDS,
            killed_sweep_runs_for_ever=(
                "    update_rows(abandoned, status=SweepStatus.INTERRUPTED, finished_at=started)\n",
                "",
                "services/test_sweeping_ends.py"
                "::test_the_next_sweep_waits_for_nobody_and_says_that_the_killed_one_ended",
            ),
            exception_leaves_it_running=(
                "        _interrupt(current, clock)\n        raise",
                "        raise",
                "services/test_sweeping_ends.py::test_one_that_an_exception_ends_says_so_at_once",
            ),
            partial_sweep_is_complete=(
                "SweepStatus.COMPLETE if complete else SweepStatus.PARTIAL",
                "SweepStatus.COMPLETE",
                "services/test_sweeping.py::test_a_page_that_cannot_be_read_concludes_nothing",
            ),
            unread_plane_forgets_its_rows=(
                "    if not isinstance(answer, Present):\n        code",
                "    if False:\n        code",
                "services/test_sweeping.py::test_a_model_is_missing_only_at_the_second_look",
            ),
        ),
        defects_in(
            "services/repairs/pointers.py",
            RECONCILIATION,
            siblings_are_lost_too=(
                "    if len(gone) == len(runs):",
                "    if gone:",
                "services/test_reconciliation.py"
                "::test_a_single_version_that_is_gone_is_lost_and_its_siblings_stay",
            ),
        ),
        defects_in(
            "services/repairs/steps.py",
            RECONCILIATION,
            unknown_is_lost=(
                "        raise _unread(answer.reason, answer.code, service, sent)\n",
                "        return Absent(answer.reason)\n",
                "services/test_reconciliation.py"
                "::test_an_answer_that_proves_nothing_clears_nothing",
            ),
        ),
        defects_in(
            "services/repairs/reconciliation.py",
            RECONCILIATION,
            ended_finding_is_repaired=(
                "if finding.status != FindingStatus.OPEN:",
                "if False:",
                "services/test_reconciliation.py::test_a_finding_that_ended_cannot_be_repaired",
            ),
            unsafe_kind_is_repaired=(
                "    possible = repairs_of(finding)\n",
                "    possible = facts_of(finding).repairs\n",
                "services/test_service_repairs.py"
                "::test_what_may_not_be_recorded_is_left_to_a_person",
            ),
        ),
        defects_in(
            "services/repairs/duplicate_versions.py",
            "services/test_surplus.py",
            whole_model_with_a_pointer_goes=(
                "if not staying and (runs := _pointed_at(name)):",
                "if not staying and (runs := []):",
                "services/test_surplus.py"
                "::test_a_model_with_a_pointer_of_ours_is_never_deleted_whole",
            ),
        ),
        defects_in(
            "services/cleanup/orphan_batches.py",
            "services/test_orphan_cleanup.py",
            held_name_is_no_need=(
                "        if lineage_key(project_id=project_id, model_name=name) in held:",
                "        if False:",
                "services/test_orphan_cleanup.py"
                "::test_orphans_go_and_each_that_stays_is_told_with_its_need",
            ),
            young_name_is_an_orphan=(
                "never_registered().filter(created_at__lt=created_before)",
                "never_registered()",
                "services/test_orphan_cleanup.py"
                "::test_orphans_go_and_each_that_stays_is_told_with_its_need",
            ),
        ),
        defects_in(
            "services/cleanup/artifact_candidates.py",
            "services/test_artifact_cleanup.py",
            served_files_are_candidates=(
                ".exclude(Exists(served) | Exists(reached) | Exists(busy) | Exists(waiting))",
                ".exclude(Exists(reached) | Exists(busy) | Exists(waiting))",
                "services/test_artifact_cleanup.py::test_whatever_somebody_needs_stays",
            ),
            young_runs_are_candidates=(
                "created_at__lt=old)",
                "created_at__isnull=False)",
                "services/test_artifact_cleanup.py::test_whatever_somebody_needs_stays",
            ),
        ),
        defects_in(
            "services/removal/guard.py",
            "services/test_artifact_cleanup.py",
            lost_files_go_without_asking=(
                "    if run.registration == Registration.LOST:\n"
                "        return _why_in_vertex(run)\n",
                "",
                "services/test_artifact_cleanup.py"
                "::test_a_lost_version_goes_only_when_asked_and_vertex_says_again_that_it_is_gone",
            ),
        ),
        defects_in(
            "services/findings/decisions.py",
            "services/test_reconciliation.py"
            "::test_a_finding_is_not_ignored_without_a_reason_or_twice",
            ignored_without_a_reason=("if ignored and not reason:", "if False:"),
            ignored_twice=("if not moved:", "if False:"),
        ),
    )
)
