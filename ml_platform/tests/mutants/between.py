"""Defects of what is looked at once more, right before an effect."""

from __future__ import annotations

from itertools import chain

from .defect import Defect, defects_in

CASES = "services/test_between_look_and_effect.py::test_what_changed_since_the_look_is_respected"


def case(*names: str) -> str:
    """The cases of `services/between` that have to notice."""
    return " ".join(f"{CASES}[{name}]" for name in names)


UNDEPLOY = case(
    "a_service_that_another_took_over_survives_an_undeploy",
    "a_service_that_was_changed_is_looked_at_again_before_it_goes",
)
UPSERT = case(
    "a_service_that_another_took_over_is_not_deployed_to",
    "a_service_that_is_deleted_meanwhile_is_made_again",
    "a_new_name_that_another_takes_meanwhile_is_not_ours",
)

DEFECTS: tuple[Defect, ...] = tuple(
    chain(
        defects_in(
            "services/deployment/undeploy.py",
            UNDEPLOY,
            undeploy_without_etag=("etag=work.state.etag)", 'etag="")'),
            undeploy_of_anybodys_service=("if not belongs_to(service, endpoint.uid):", "if False:"),
        ),
        defects_in(
            "services/deployment/rollout.py",
            UPSERT,
            update_of_another_read=("if service.etag != etag:", "if False:"),
            name_taken_is_final=(
                "except (CloudExists, CloudAbsent) as error:",
                "except CloudAbsent as error:",
            ),
            deploy_to_anybodys_service=(
                "        require_ours(service, endpoint)\n",
                "        pass\n",
            ),
            removal_without_etag=(
                "cloud_run.delete_service(work.state.service, etag=work.state.etag)",
                'cloud_run.delete_service(work.state.service, etag="")',
                case("what_did_not_come_up_and_was_taken_over_is_not_removed"),
            ),
        ),
        defects_in(
            "services/deployment/steps.py",
            case(
                "callers_are_not_set_on_an_endpoint_that_has_another_configuration",
                "callers_are_not_set_on_an_endpoint_that_serves_another_version",
            ),
            callers_whatever_serves=("endpoint.run_id != work.state.run or ", ""),
            callers_whatever_configuration=(" or endpoint.config != config.to_dict():", ":"),
        ),
        defects_in(
            "services/repairs/leftovers.py",
            case(
                "a_leftover_that_was_changed_meanwhile_is_left_alone",
                "a_leftover_whose_endpoint_serves_again_is_left_alone",
            ),
            leftover_without_etag=("etag=work.state.etag)", 'etag="")'),
            leftover_with_other_labels=(
                'not are_ours(service.labels) or service.labels.get(ENDPOINT, "") != uid',
                "False",
            ),
            leftover_that_serves_again=(
                "if row := DeployedEndpoint.objects.protecting().filter(rows).first():",
                "if row := DeployedEndpoint.objects.none().first():",
            ),
        ),
        defects_in(
            "services/repairs/services.py",
            case("an_endpoint_that_was_stopped_meanwhile_is_not_recorded_to_serve"),
            stopped_endpoint_is_recorded=(
                "if not endpoint.is_active or endpoint.state != EndpointState.ACTIVE:",
                "if False:",
            ),
        ),
        defects_in(
            "services/repairs/unmanaged_models.py",
            case("a_model_that_was_claimed_after_the_click_is_not_deleted"),
            claimed_model_is_deleted=(
                "    require_unclaimed(name)\n    if owners",
                "    if owners",
            ),
            owned_model_is_deleted=(
                "if owners := {v.labels[OWNER] for v in answer.value if v.labels.get(OWNER)}:",
                "if owners := set[str]():",
                case("a_model_that_got_an_owner_after_the_click_is_not_deleted"),
            ),
        ),
        defects_in(
            "services/registration/adoption.py",
            case("a_model_that_was_claimed_meanwhile_is_not_adopted"),
            claimed_model_is_adopted=(
                "    require_unclaimed(ModelName.parse(state.location))\n",
                "",
            ),
            taken_name_is_adopted=(
                "    _require_free(project_id, state.model_name)\n",
                "",
                case("a_name_that_was_registered_meanwhile_is_not_adopted_under"),
            ),
        ),
        defects_in(
            "services/registration/adopted_versions.py",
            case("labels_that_somebody_set_meanwhile_stay_beside_ours"),
            labels_of_others_are_lost=(
                "dict(version.labels) | ours",
                "ours",
            ),
            owner_label_is_overwritten=(
                "    require_no_owner(name, [version])\n",
                "",
                case("a_version_that_another_installation_claimed_meanwhile_keeps_its_label"),
            ),
        ),
        defects_in(
            "services/repairs/pointers.py",
            case(
                "the_old_name_with_another_runs_label_is_not_restored_onto",
                "the_old_name_of_another_installation_is_not_restored_onto",
            ),
            restored_onto_whatever_is_there=(
                "isinstance(answer, Present) and is_version_of(answer.value, run)",
                "isinstance(answer, Present)",
            ),
            restored_beside_another_model=(
                "if current and not same_resource(current, name.bare):",
                "if False:",
                case("a_lineage_that_got_a_model_of_its_own_meanwhile_keeps_that"),
            ),
            deleted_version_is_restored=(
                "filter(pk=run_id, registration=Registration.LOST)",
                "filter(pk=run_id)",
                case("a_version_that_was_deleted_for_good_meanwhile_is_not_restored"),
            ),
        ),
        defects_in(
            "services/ownership/labels.py",
            case("the_old_name_of_another_installation_is_not_restored_onto"),
            owner_label_is_not_compared=(
                "return {OWNER: us.name, INSTALLATION: us.uid, **labels}",
                "return labels",
            ),
        ),
        defects_in(
            "services/repairs/duplicate_versions.py",
            case("a_copy_that_got_another_label_meanwhile_is_not_purged"),
            copy_of_another_owner_is_purged=(
                "if is_uid(uid) and are_ours(version.labels):",
                "if is_uid(uid):",
                "services/test_surplus.py",
            ),
        ),
        defects_in(
            "services/repairs/steps.py",
            case("a_copy_that_somebody_deleted_meanwhile_is_done"),
            purged_copy_that_is_gone_is_a_failure=(
                "    except CloudAbsent:\n        return None",
                "    except ZeroDivisionError:\n        return None",
            ),
        ),
        defects_in(
            "services/cleanup/orphans.py",
            case("an_orphan_that_a_waiting_operation_needs_stays"),
            orphan_that_an_operation_needs_goes=(
                "if lineage is None or waiting.exclude(pk=operation.pk).exists():",
                "if lineage is None:",
            ),
        ),
        defects_in(
            "services/removal/guard.py",
            case("files_of_a_run_that_is_worked_on_since_they_were_marked_are_kept"),
            files_of_a_busy_run_go=(
                "if operation and run.registration != Registration.DELETED:",
                "if False:",
            ),
            used_files_go=(
                'return f"it is used by {names_of(users.value, project_id=project_id)}." '
                'if users.value else ""',
                'return ""',
                case("files_at_which_somebody_points_since_they_were_marked_are_kept"),
            ),
            unknown_users_are_nobody=(
                'return f"what uses it is unknown: {pointers.reason}"',
                'return ""',
                "services/test_references.py",
            ),
        ),
        defects_in(
            "services/cleanup/strays.py",
            case("a_stray_that_is_a_runs_by_now_is_kept"),
            stray_of_a_run_goes=('if _runs([key.rstrip("/").rpartition("/")[2]]):', "if False:"),
            fresh_stray_goes=(
                "if _is_in(item.name, key) and not _is_older(item, before):",
                "if False:",
                case("a_stray_that_was_written_to_meanwhile_is_kept"),
            ),
        ),
        defects_in(
            "services/registry/aliases.py",
            case("aliases_are_not_moved_on_a_version_with_another_runs_label"),
            aliases_of_another_runs_version=("    require_own_version(version, run)\n", ""),
            protected_alias_is_taken=(
                "if not work.state.administers:",
                "if False:",
                case("a_protected_alias_that_another_version_got_meanwhile_is_not_taken_from_it"),
            ),
            aliases_of_a_deleted_version=(
                "    run = run_of(work.operation)\n    require_version(run)\n",
                "    run = run_of(work.operation)\n",
                case("aliases_are_not_given_to_a_version_that_was_deleted_meanwhile"),
            ),
        ),
        defects_in(
            "services/training/submission.py",
            case("a_pipeline_of_somebody_else_under_our_name_is_not_taken_for_ours"),
            foreign_pipeline_is_ours=("if job.labels.get(RUN) != run.uid.hex:", "if False:"),
            cancelled_run_is_started=(
                "    if run.status != RunStatus.SUBMITTING:\n        raise",
                "    if False:\n        raise",
                case("a_run_that_was_cancelled_meanwhile_is_not_started"),
            ),
            ended_run_is_cancelled=(
                "if run.status != RunStatus.RUNNING:",
                "if False:",
                case("a_run_that_succeeded_meanwhile_stays_so"),
            ),
        ),
        defects_in(
            "services/scheduling/job.py",
            case("a_job_that_is_there_by_now_is_not_made_twice"),
            job_that_exists_is_a_failure=(
                "    except CloudExists as error:\n        raise CloudConflict",
                "    except ZeroDivisionError as error:\n        raise CloudConflict",
            ),
            ended_schedule_keeps_its_job=(
                "if schedule.state not in LIVE_SCHEDULE_STATES:",
                "if False:",
                case("a_schedule_that_was_cancelled_meanwhile_leaves_no_job"),
            ),
            deleted_job_is_a_failure=(
                "        except CloudAbsent as gone:\n            return",
                "        except ZeroDivisionError as gone:\n            return",
                case("a_job_that_was_deleted_meanwhile_is_made_again_and_paused"),
            ),
        ),
    )
)
