"""Defects of registration, deletion, aliases, artifacts and lineages."""

from __future__ import annotations

from itertools import chain

from .defect import Defect, defects_in

AGAIN = "services/test_names_used_again.py"
DELETION = "services/test_deletion.py"
REGISTRATION = "services/test_registration.py"
VERIFICATION = "services/test_verification.py"

DEFECTS: tuple[Defect, ...] = tuple(
    chain(
        defects_in(
            "services/registration/register.py",
            REGISTRATION,
            any_file_is_a_model=(
                'pushed_model/*/{MODEL_FILE}"\n    )',
                'pushed_model/*/*"\n    )',
                AGAIN,
            ),
            lost_run_gets_a_new_number=(
                "number = run.version or lineage.next_version",
                "number = lineage.next_version",
                AGAIN,
            ),
            unblessed_run_is_registered=(
                "if run.status == RunStatus.NOT_BLESSED and not force_reason:",
                "if False:",
            ),
            failed_run_is_registered=(
                "if run.status not in {*SUCCEEDED_RUN_STATUSES, RunStatus.NOT_BLESSED}:",
                "if False:",
            ),
            deleted_version_is_registered_again=(
                "if run.registration not in (*REGISTRABLE, Registration.REGISTERED):",
                "if False:",
                f"{REGISTRATION} {DELETION}",
            ),
            default_is_not_moved=("        move_default(lineage=lineage, run_id=run.pk)\n", ""),
            blank_reason_forces=(
                "reason = force_reason.strip() if forced",
                "reason = force_reason if forced",
            ),
            cancelled_key_is_kept=("update(idempotency_key=None)", "update()"),
        ),
        defects_in(
            "services/registration/upload.py",
            f"{AGAIN}::test_an_upload_that_may_yet_appear_is_not_sent_again_before_its_horizon",
            upload_is_sent_again_at_once=(
                "if pause := _upload_may_appear(work):",
                "if pause := None:",
            ),
            copies_are_sorted_as_text=(
                "key=lambda version: int(version.version))\n\n\ndef _adopt",
                "key=lambda version: version.version)\n\n\ndef _adopt",
                f"{AGAIN}::test_of_two_copies_nine_is_below_ten",
            ),
            foreign_parent_is_ours=(
                "if model.labels.get(OWNER) != owner():",
                "if False:",
                REGISTRATION,
            ),
            parent_is_lost_at_the_first_look=(
                "SECOND_LOOK_SECONDS = 30.0",
                "SECOND_LOOK_SECONDS = 0.0",
                REGISTRATION,
            ),
            surplus_is_not_told=(
                "for version in versions[1:]]",
                "for version in versions[:0]]",
                AGAIN,
            ),
        ),
        defects_in(
            "services/deletion/delete.py",
            AGAIN,
            run_of_another_model_is_deleted=("if run.registered_model_id != lineage.pk or ", "if "),
            deletion_of_what_is_no_version=(
                " or run.registration not in DELETABLE:",
                ":",
                DELETION,
            ),
            deletion_key_without_runs=(
                'request = {"lineage": lineage.pk, "runs": ids}',
                'request = {"lineage": lineage.pk}',
                "services/test_keys_of_verbs.py",
            ),
            protected_version_is_deleted=(
                '        require_unprotected(f"{run.model_name} v{run.version}", run.aliases)\n',
                "",
                "doors/test_protected_aliases.py",
            ),
        ),
        defects_in(
            "services/deletion/state.py",
            DELETION,
            served_version_is_marked=("if endpoint := serving.first():", "if endpoint := None:"),
            intended_version_is_marked=(
                "Q(run__in=run_ids) | Q(intended_run__in=run_ids)",
                "Q(run__in=run_ids)",
            ),
            endpoints_are_not_marked=(
                "update_rows(DeployedEndpoint.objects.filter(run=run), model_deleted=True)",
                "pass",
            ),
            failed_deletion_keeps_its_mark=(
                "update_rows(marked.filter(pk__in=kept)",
                "update_rows(marked.none()",
            ),
        ),
        defects_in(
            "services/deletion/steps.py",
            DELETION,
            served_on_cloud_run_is_deleted=("    if serving:\n", "    if False:\n"),
            sibling_with_the_same_label_goes=(" or v.version in pointed_at]", "]"),
            newest_heir_as_text=(
                "max(staying, key=lambda version: int(version.version))",
                "max(staying, key=lambda version: version.version)",
                f"{AGAIN}::test_the_default_goes_to_ten_not_to_nine",
            ),
            users_of_files_are_not_asked=(
                "if users:\n",
                "if False:\n",
                "services/test_references.py",
            ),
            strangers_version_goes_with_the_model=(
                "alone = len(ours) == len(versions) and not staying",
                "alone = not staying",
            ),
        ),
        defects_in(
            "services/deletion/plan.py",
            DELETION,
            default_goes_to_the_oldest=("newest = max(registered", "newest = min(registered"),
            siblings_do_not_keep_the_registration=(
                "ends_registration=not registered and",
                "ends_registration=",
            ),
            service_without_a_row_blocks_nothing=(
                "if s.run_uid in uids and s.service_name not in known",
                "if False",
            ),
        ),
        defects_in(
            "services/registry/artifacts.py",
            f"{DELETION} services/test_artifact_cleanup.py",
            any_run_below_the_root=(" or match.group(3) not in own:", ":"),
            any_bucket=("match.group(1, 2) != (bucket, root)", "match.group(2) != root"),
            highest_folder_as_text=(
                "max(numbered, key=int, default=None)",
                "max(numbered, default=None)",
                REGISTRATION,
            ),
        ),
        defects_in(
            "services/registry/verification.py",
            VERIFICATION,
            young_is_never_doubted=("return max(0.0, (made_at", "return min(0.0, (made_at"),
            model_file_beside_another=("item.name == key for page", "item.name for page"),
            label_is_not_compared=(
                "    require_own_version(model, run)\n    return model",
                "    return model",
            ),
        ),
        defects_in(
            "services/registry/lineages.py",
            f"{DELETION} {REGISTRATION}",
            id_is_used_twice=("    if not lineage.total_versions:\n", "    if False:\n"),
            lost_model_keeps_its_id=(
                'update(generation=F("generation") + 1)\n    sync_version_cache',
                "update()\n    sync_version_cache",
            ),
            pointer_is_not_remembered=('    run.former_vertex_version = f"', '    _ = f"'),
        ),
        defects_in(
            "services/registry/protection.py",
            "doors/test_protected_aliases.py",
            nothing_is_protected=(
                "for alias in get_settings().PROTECTED_ALIASES if alias in aliases]",
                "for alias in get_settings().PROTECTED_ALIASES if False]",
            ),
            alias_elsewhere_may_be_taken=(
                "if alias in change and alias in elsewhere:",
                "if False:",
            ),
        ),
    )
)
