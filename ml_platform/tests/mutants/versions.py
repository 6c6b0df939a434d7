"""Defects of registration, deletion, aliases, artifacts and lineages."""

from __future__ import annotations

from itertools import chain

from .defect import Defect, defects_in

REMOVAL = "services/test_awaiting_removal.py"
MANIFEST = "services/test_manifest.py"
WITHHELD = "services/test_traffic_withheld.py"
AGAIN = "services/test_names_used_again.py"
DELETION = "services/test_deletion.py"
REGISTRATION = "services/test_registration.py"
VERIFICATION = "services/test_verification.py"

DEFECTS: tuple[Defect, ...] = tuple(
    chain(
        defects_in(
            "services/registration/register.py",
            REGISTRATION,
            lost_run_gets_a_new_number=(
                "number = run.version or lineage.next_version",
                "number = lineage.next_version",
                "services/test_names_used_again.py"
                "::test_a_lost_run_that_is_registered_again_keeps_its_number",
            ),
            unblessed_run_is_registered=(
                "if run.status == RunStatus.NOT_BLESSED and not force_reason:",
                "if False:",
                "services/test_registration.py"
                "::test_a_run_that_was_not_blessed_is_registered_only_by_force_with_the_reason_kept",
            ),
            failed_run_is_registered=(
                "if run.status not in {*SUCCEEDED_RUN_STATUSES, RunStatus.NOT_BLESSED}:",
                "if False:",
                "services/test_registration.py"
                "::test_a_run_that_did_not_succeed_cannot_be_registered",
            ),
            deleted_version_is_registered_again=(
                "if run.registration not in (*REGISTRABLE, Registration.REGISTERED):",
                "if False:",
                "services/test_names_used_again.py"
                "::test_a_version_that_was_deleted_is_not_registered_again",
            ),
            default_is_not_moved=(
                "        move_default(run_id=run.pk)\n",
                "        pass\n",
                "services/test_registration.py"
                "::test_later_runs_become_versions_under_the_same_parent_and_take_the_default_alias",
            ),
            blank_reason_forces=(
                "reason = force_reason.strip() if run.status",
                "reason = force_reason if run.status",
                "services/test_registration.py::test_a_reason_that_says_nothing_forces_nothing",
            ),
            cancelled_key_is_kept=(
                "update(idempotency_key=None)",
                "update()",
                "services/test_registration.py"
                "::test_a_registration_that_was_cancelled_can_be_asked_for_again",
            ),
        ),
        defects_in(
            "services/deletion/preview.py",
            "services/test_deletion_served.py",
            what_vertex_ai_serves_is_deleted=(
                "    if model.endpoints:\n",
                "    if False:\n",
            ),
        ),
        defects_in(
            "services/registration/foreign.py",
            "services/test_foreign.py",
            foreign_parent_is_ours=(
                "    if are_ours(model.labels):\n",
                "    if True:\n",
                "services/test_registration.py"
                "::test_a_model_of_somebody_else_under_our_id_is_left_alone",
            ),
            lost_version_that_is_back_is_uploaded_again=(
                "    if is_another(model, run):\n",
                "    if True:\n",
            ),
            relabeled_upload_is_sent_again=(
                "        if holds_files_of(run, version.artifact_uri):\n",
                "        if False:\n",
            ),
            first_label_is_enough=(
                "ours = [version for version in found if is_version_of(version, run)]",
                "ours = list(found)",
            ),
        ),
        defects_in(
            "services/registration/upload.py",
            f"{AGAIN}::test_an_upload_that_may_yet_appear_is_not_sent_again_before_its_horizon",
            upload_is_sent_again_at_once=(
                "if pause := _upload_may_appear(work):",
                "if pause := None:",
            ),
            parent_is_lost_at_the_first_look=(
                "SECOND_LOOK_SECONDS = 30.0",
                "SECOND_LOOK_SECONDS = 0.0",
                "services/test_names_used_again.py"
                "::test_a_parent_that_is_not_there_once_is_not_lost",
            ),
            surplus_is_not_told=(
                "for version in others)",
                "for version in others[:0])",
                "services/test_names_used_again.py::test_of_two_copies_nine_is_below_ten",
            ),
        ),
        defects_in(
            "services/deletion/delete.py",
            AGAIN,
            deletion_key_without_runs=(
                'request = {"lineage": lineage.pk, "runs": ids}',
                'request = {"lineage": lineage.pk}',
                "services/test_keys_of_verbs.py"
                "::test_any_other_argument_under_the_same_key_is_refused[delete_versions]",
            ),
        ),
        defects_in(
            "services/deletion/state.py",
            DELETION,
            served_version_is_marked=(
                "        if protects(endpoint):",
                "        if False:",
                "services/test_between_look_and_effect.py"
                "::test_what_changed_since_the_look_is_respected"
                "[a_version_that_an_endpoint_serves_by_now_is_not_deleted]",
            ),
            intended_version_is_marked=(
                "Q(run__in=run_ids) | Q(intended_run__in=run_ids)",
                "Q(run__in=run_ids)",
                "services/test_between_look_and_effect.py"
                "::test_what_changed_since_the_look_is_respected"
                "[a_version_that_an_endpoint_is_about_to_serve_by_now_is_not_deleted]",
            ),
            endpoints_are_not_marked=(
                "update_rows(DeployedEndpoint.objects.filter(run=run), model_deleted=True)",
                "pass",
                "services/test_deletion.py::test_inactive_endpoints_are_marked_model_deleted",
            ),
            failed_deletion_keeps_its_mark=(
                "update_rows(marked.filter(pk__in=kept)",
                "update_rows(marked.none()",
                "services/test_deletion.py"
                "::test_a_deletion_denied_for_good_gives_the_version_back_and_can_be_retried",
            ),
        ),
        defects_in(
            "services/deletion/steps.py",
            DELETION,
            served_on_cloud_run_is_deleted=(
                "    if serving:\n",
                "    if False:\n",
                "services/test_deletion.py"
                "::test_a_version_that_only_cloud_run_shows_as_served_cannot_be_deleted",
            ),
            sibling_with_the_same_label_goes=(
                " or v.version in pointed_at]",
                "]",
                "services/test_deletion.py"
                "::test_a_sibling_stays_though_its_label_is_that_of_the_version_which_goes",
            ),
            newest_heir_as_text=(
                "max(heirs, key=lambda version: int(version.version))",
                "max(heirs, key=lambda version: version.version)",
                f"{AGAIN}::test_the_default_goes_to_ten_not_to_nine",
            ),
            strangers_version_goes_with_the_model=(
                "alone = len(ours) == len(versions) and not staying",
                "alone = not staying",
                "services/test_deletion.py"
                "::test_a_version_somebody_else_put_under_our_model_survives_its_deletion",
            ),
        ),
        defects_in(
            "services/deletion/plan.py",
            DELETION,
            default_goes_to_the_oldest=(
                "newest = max(registered",
                "newest = min(registered",
                "unit/test_deletion_plan.py",
            ),
            siblings_do_not_keep_the_registration=(
                "ends_registration=not registered and",
                "ends_registration=",
                "services/test_deletion.py"
                "::test_the_preview_says_what_goes_what_stays_and_what_blocks",
            ),
            service_without_a_row_blocks_nothing=(
                "if service.run_uid in uids and service.service_name not in known:",
                "if False:",
                "services/test_deletion.py"
                "::test_a_version_that_only_cloud_run_shows_as_served_cannot_be_deleted",
            ),
            protecting_endpoint_blocks_nothing=(
                "return endpoint.is_active or endpoint.state in PROTECTING_ENDPOINT_STATES",
                "return False",
                "services/test_deletion.py"
                "::test_a_version_that_an_endpoint_protects_cannot_be_deleted_and_the_refusal_is_kept",
            ),
        ),
        defects_in(
            "services/artifacts/folders.py",
            f"{DELETION} services/test_artifact_cleanup.py",
            any_run_below_the_root=(
                " or match.group(3) not in own:",
                ":",
                "services/test_deletion.py::test_run_1_never_touches_run_10",
            ),
            any_bucket=(
                "match.group(1, 2) != (bucket, root)",
                "match.group(2) != root",
                "services/test_deletion.py::test_run_1_never_touches_run_10",
            ),
            highest_folder_as_text=(
                "max(numbered, key=int, default=None)",
                "max(numbered, default=None)",
                "services/test_registration.py"
                "::test_the_folder_with_the_highest_number_is_taken_as_it_is_written",
            ),
        ),
        defects_in(
            "services/registry/verification.py",
            VERIFICATION,
            young_is_never_doubted=(
                "return max(0.0, (made_at",
                "return min(0.0, (made_at",
                "services/test_deployment_trouble.py"
                "::test_a_version_so_new_that_vertex_may_not_show_it_yet_is_waited_for",
            ),
            model_file_beside_another=(
                "item.name == key for page",
                "item.name for page",
                "services/test_names_used_again.py::test_a_file_beside_the_model_file_is_no_model",
            ),
            label_is_not_compared=(
                "    require_own_version(model, run, us=us)\n    return model",
                "    return model",
                "services/test_verification.py"
                "::test_a_version_without_our_label_is_unknown_and_says_which_label",
            ),
            any_file_is_a_model=(
                'glob = f"{folder.key}pushed_model/*/{MODEL_FILE}"',
                'glob = f"{folder.key}pushed_model/*/*"',
                "services/test_names_used_again.py"
                "::test_a_newer_folder_without_a_model_file_is_not_the_one_that_is_registered",
            ),
            copies_are_sorted_as_text=(
                "key=lambda version: int(version.version))",
                "key=lambda version: version.version)",
                f"{AGAIN}::test_of_two_copies_nine_is_below_ten",
            ),
        ),
        defects_in(
            "services/registry/lineages.py",
            f"{DELETION} {REGISTRATION}",
            id_is_used_twice=(
                "    if lineage and not lineage.total_versions:\n",
                "    if False:\n",
                "services/test_deletion.py"
                "::test_a_deleted_name_can_be_used_again_and_its_numbers_do_not_repeat",
            ),
            lost_model_keeps_its_id=(
                'update(generation=F("generation") + 1)\n    sync_version_cache',
                "update()\n    sync_version_cache",
                "services/test_registration.py"
                "::test_a_parent_deleted_in_the_console_is_believed_at_the_second_look_and_never_reborn",
            ),
            pointer_is_not_remembered=(
                '        "last_vertex_version": f"',
                '        "last_vertex_version": "" and f"',
                "services/test_deletion.py"
                "::test_deleting_the_last_version_ends_the_registration_and_keeps_the_lineage_readable",
            ),
        ),
        defects_in(
            "services/registry/protection.py",
            "doors/test_protected_aliases.py",
            nothing_is_protected=(
                "for alias in get_settings().PROTECTED_ALIASES if alias in aliases]",
                "for alias in get_settings().PROTECTED_ALIASES if False]",
                "doors/test_protected_aliases.py::test_the_api_plans_and_refuses",
            ),
            alias_elsewhere_may_be_taken=(
                "if alias in change and alias in elsewhere:",
                "if False:",
                "doors/test_protected_aliases.py"
                "::test_a_member_gives_one_that_nobody_has_and_takes_none",
            ),
        ),
        defects_in(
            "services/deletion/preview.py",
            AGAIN,
            run_of_another_model_is_deleted=(
                "lineage.training_runs.filter(",
                "TrainingRun.objects.filter(",
                "services/test_names_used_again.py"
                "::test_a_run_of_another_model_is_not_deleted_with_this_one",
            ),
            deletion_of_what_is_no_version=(
                ".filter(registration__in=DELETABLE)",
                ".all()",
                "services/test_names_used_again.py"
                "::test_a_run_of_the_model_that_is_no_version_is_not_deleted_as_one",
            ),
            protected_version_is_deleted=(
                "protected=ProtectedAlias(kept) if kept else None",
                "protected=None",
                "doors/test_protected_aliases.py::test_the_api_plans_and_refuses",
            ),
        ),
        defects_in(
            "services/removal/steps.py",
            REMOVAL,
            users_of_files_are_not_asked=(
                "if (users := users_of(row.folder, pointers, going))",
                "if (users := [])",
                "services/test_references.py"
                "::test_a_version_goes_and_its_files_stay_where_another_model_uses_them",
            ),
            only_a_part_of_the_models_is_read=(
                "    if left:\n",
                "    if False:\n",
                f"{REMOVAL}::test_above_that_all_waiting_folders_share_one_reading_in_the_background",
            ),
            interrupted_reading_goes_on=(
                "            run=_read_users,\n            probe=FIRST_STEP,",
                "            run=_read_users,",
                f"{REMOVAL}::test_an_interrupted_reading_begins_again_and_finds_who_came_meanwhile",
            ),
            what_is_left_is_repaired=(
                "if state.only and ",
                "if False and ",
                f"{REMOVAL}::test_the_repair_deletes_what_is_left_and_ends_the_finding",
            ),
        ),
        defects_in(
            "services/deletion/state.py",
            REMOVAL,
            model_is_held_until_the_files_went=(
                "    worker.release_lineage(work)\n",
                "",
                f"{REMOVAL}::test_a_registration_does_not_wait_for_the_files",
            ),
        ),
        defects_in(
            "services/removal/waiting.py",
            REMOVAL,
            nobody_is_told_what_is_left=(
                "if waiting and refused:",
                "if False:",
                f"{REMOVAL}::test_the_repair_deletes_what_is_left_and_ends_the_finding",
            ),
        ),
        defects_in(
            "services/artifacts/manifest.py",
            MANIFEST,
            checksum_is_no_part_of_the_digest=(
                "[name, item.size, item.crc32c]).encode()",
                "[name, item.size]).encode()",
                f"{MANIFEST}::test_the_next_sweep_finds_every_change_and_that_it_was_undone",
            ),
            generation_is_part_of_the_digest=(
                "[name, item.size, item.crc32c]).encode()",
                "[name, item.size, item.crc32c, item.generation]).encode()",
                f"{MANIFEST}::test_the_same_bytes_written_again_are_no_finding",
            ),
            other_files_are_verified=(
                "registered_model__in=lineages, manifest__state__in=DIFFERING",
                "registered_model__in=lineages, manifest__state__in=()",
                f"{MANIFEST}::test_the_next_sweep_finds_every_change_and_that_it_was_undone",
            ),
        ),
        defects_in(
            "services/artifacts/manifest.py",
            MANIFEST,
            deploy_takes_other_files=(
                "if row is None or row.digest == taken.digest:",
                "if True:",
                f"{MANIFEST}::test_a_deploy_refuses_other_files_and_names_them",
            ),
        ),
        defects_in(
            "services/deployment/rollout.py",
            MANIFEST,
            files_are_not_compared_before_the_revision=(
                "            reread_files(run, uri)\n",
                "            pass\n",
                f"{MANIFEST}::test_files_replaced_between_the_look_and_the_deploy_get_no_traffic",
            ),
            files_are_not_compared_when_the_revision_is_ready=(
                "if not (back or work.state.compared):",
                "if False:",
                f"{MANIFEST}::test_files_replaced_while_the_revision_starts_are_taken_back",
            ),
            unknown_comparison_passes=(
                "answer.value if isinstance(answer, Present) else answer.reason:",
                'answer.value if isinstance(answer, Present) else "":',
                WITHHELD,
            ),
            unknown_comparison_is_not_waited_for=(
                "if isinstance(answer, Unknown) and not is_late(work):",
                "if False:",
                WITHHELD,
            ),
            new_revision_has_traffic_at_once=(
                "            traffic = withheld_traffic(work)\n",
                "            traffic = ()\n",
                WITHHELD,
            ),
            service_of_others_is_removed=(
                "    if not work.state.created:\n",
                "    if False:\n",
                WITHHELD,
            ),
        ),
        defects_in(
            "services/deployment/traffic.py",
            WITHHELD,
            traffic_of_a_person_is_overwritten=(
                "        if not is_withheld(work, service):\n            return Next",
                "        if False:\n            return Next",
                "services/test_between_look_and_effect.py",
            ),
            what_we_withheld_is_a_persons=(
                "if held_by and service.targets == held != asked else None",
                "if False else None",
            ),
        ),
        defects_in(
            "services/sweeps/planes/artifacts.py",
            MANIFEST,
            adopted_folder_is_never_read_again=(
                "last > reading.now - ADOPTED_EVERY",
                "last",
                f"{MANIFEST}"
                "::test_an_adoption_takes_the_manifest_and_a_sweep_lists_each_folder_once_a_day",
            ),
        ),
    )
)
