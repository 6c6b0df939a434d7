"""Defects of deploy, undeploy and what is said of endpoints."""

from __future__ import annotations

from itertools import chain

from .defect import Defect, defects_in

DEPLOY = "services/test_deployment.py"
TROUBLE = "services/test_deployment_trouble.py"
KEYS = "services/test_keys_of_verbs.py"
AGAIN = "services/test_names_used_again.py"
OTHERS = "services/test_others_changes.py"
CHANGED = "services/test_service_changed.py"
STAYS = f"{OTHERS}::test_all_that_others_set_on_a_service_stays[redeploy]"

DEFECTS: tuple[Defect, ...] = tuple(
    chain(
        defects_in(
            "services/deployment/deploy.py",
            KEYS,
            deploy_key_without_configuration=(
                '"service": named, "config": config.to_dict() if config else None}',
                '"service": named}',
                "services/test_keys_of_verbs.py"
                "::test_any_other_argument_under_the_same_key_is_refused[deploy_run]",
            ),
            deploy_key_without_service=(
                '{"run": run.pk, "service": named, ',
                '{"run": run.pk, ',
                "services/test_keys_of_verbs.py"
                "::test_any_other_argument_under_the_same_key_is_refused[deploy_run]",
            ),
            redeploy_key_without_run=(
                '            "run": wanted,\n',
                "",
                "services/test_keys_of_verbs.py"
                "::test_any_other_argument_under_the_same_key_is_refused[redeploy_endpoint]",
            ),
            rollback_key_like_a_redeploy=(
                'request={"endpoint": endpoint.pk, "rollback": True}',
                'request={"endpoint": endpoint.pk}',
                "services/test_keys_of_verbs.py::test_a_key_of_one_verb_is_not_answered_by_another",
            ),
            deploy_is_not_answered_again=(
                "            return known\n",
                "            pass\n",
                "doors/test_api_keys.py"
                "::test_a_deploy_sent_again_is_answered_though_its_version_may_not_be_deployed_now",
            ),
            rollback_with_the_configuration_of_now=(
                "from_dict(endpoint.previous_config)",
                "from_dict(endpoint.config)",
                "services/test_deployment.py"
                "::test_a_rollback_brings_back_how_the_version_was_served",
            ),
        ),
        defects_in(
            "services/deployment/undeploy.py",
            AGAIN,
            undeploy_forgets_its_key=(
                "            idempotency_key=idempotency_key,\n",
                "",
                "services/test_keys_of_verbs.py"
                "::test_the_same_key_and_request_is_one_operation_whatever_became_of_it[undeploy_endpoint]",
            ),
            undeploy_of_unknown_outcome_is_active=(
                "    if work.state.sent:\n        DeployedEndpoint",
                "    if False:\n        DeployedEndpoint",
                "services/test_names_used_again.py"
                "::test_an_undeploy_of_unknown_outcome_does_not_show_as_active",
            ),
            undeploy_of_a_young_service_is_done=(
                "else seconds_until_consistent(endpoint.deployed_at, now=work.clock())",
                "else 0.0",
                "services/test_undeployment.py"
                "::test_a_service_so_new_that_it_may_not_show_yet_is_not_taken_for_gone",
            ),
        ),
        defects_in(
            "services/deployment/endpoint_state.py",
            DEPLOY,
            previous_version_is_forgotten=(
                "        endpoint.previous_run_id = before\n",
                "",
                "services/test_deployment.py"
                "::test_a_later_version_takes_over_in_place_and_the_one_before_can_be_rolled_back_to",
            ),
            failed_deploy_keeps_serving_what_is_gone=(
                "endpoint.is_active = served and not gone",
                "endpoint.is_active = served",
                "services/test_between_look_and_effect.py"
                "::test_what_changed_since_the_look_is_respected"
                "[a_service_that_another_took_over_is_not_deployed_to]",
            ),
            run_of_two_endpoints_stops_with_one=(
                "if DeployedEndpoint.objects.filter(run_id=run_id, is_active=True).exists():",
                "if DeployedEndpoint.objects.filter(run_id=run_id, is_active=True).count() > 1:",
                "services/test_deployment.py"
                "::test_a_first_deploy_brings_up_a_private_service_that_names_its_version",
            ),
        ),
        defects_in(
            "services/deployment/steps.py",
            TROUBLE,
            young_version_is_gone=(
                "if seconds := seconds_until_consistent(run.registered_at, now=work.clock()):",
                "if seconds := 0:",
                "services/test_deployment_trouble.py"
                "::test_a_version_so_new_that_vertex_may_not_show_it_yet_is_waited_for",
            ),
            not_found_without_a_listing=(
                "        require_listing()\n",
                "",
                "services/test_deployment_trouble.py"
                "::test_a_listing_that_fails_beside_a_not_found_clears_nothing",
            ),
            deploy_sent_is_stood_down=(
                "    if work.state.sent:\n        mark",
                "    if False:\n        mark",
                "services/test_deployment_trouble.py"
                "::test_a_right_lost_after_the_upsert_is_waited_for_and_the_version_stays_protected",
            ),
        ),
        defects_in(
            "services/deployment/missing.py",
            TROUBLE,
            pointer_of_missing_artifacts_stays=(
                'TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path="")',
                "pass",
                "services/test_deployment_trouble.py"
                "::test_missing_artifacts_stop_the_deploy_and_what_pointed_at_them_is_cleared",
            ),
            mirror_waits_for_the_sweep=(
                "        if work.state.model_gone:\n",
                "        if False:\n",
            ),
        ),
        defects_in(
            "services/deployment/rollout.py",
            TROUBLE,
            version_before_is_not_brought_back=(
                "if work.state.before:",
                "if False:",
                "services/test_deployment_trouble.py"
                "::test_a_later_version_that_does_not_serve_gives_way_to_the_one_before",
            ),
            what_failed_stays=(
                'return Next(to="remove", note=reason)',
                'return Next(to="give_up", note=reason)',
                "services/test_deployment_trouble.py"
                "::test_a_first_version_that_does_not_serve_is_taken_away_again",
            ),
        ),
        defects_in(
            "services/serving/config.py",
            "unit/test_serving.py",
            ready_without_traffic_serves=(
                "if share < (percent or 100):",
                "if share < 0:",
            ),
            unknown_keys_are_taken=('extra="forbid"', 'extra="ignore"'),
            reserved_names_are_taken=('r"(?!(AIP_.*|K_.*|PORT)\\Z).*"', 'r".*"'),
        ),
        defects_in(
            "cloud/cloud_run.py",
            OTHERS,
            update_without_etag=(
                "write_spec(message, spec, before=before)",
                'write_spec(message, spec, before=before)\n    message.etag = ""',
                f"{OTHERS}::test_a_person_who_writes_between_our_read_and_our_write_keeps_their_change",
            ),
            update_of_an_empty_message=("    message.CopyFrom(service.message)\n", "", STAYS),
        ),
        defects_in(
            "cloud/run_messages.py",
            OTHERS,
            ingress_is_always_ours=("if spec.ingress is not Ingress.ALL or", "if True or", STAYS),
            account_is_always_ours=("if spec.service_account or", "if True or", STAYS),
            env_of_others_goes=("variable.name not in gone]", "variable.name in spec.env]"),
            env_of_ours_stays=("gone = before.env.keys() - spec.env.keys()", "gone = set()"),
            traffic_is_all_ours=(
                "if share := sum(target.percent for target in pinned):",
                "if share := 100:",
                "unit/test_others_changes.py",
            ),
            revision_keeps_its_name=('template.revision = ""', "pass"),
            first_container_is_ours=("[*with_model, *exposed, *containers]", "containers", STAYS),
        ),
        defects_in(
            "services/serving/others_changes.py",
            OTHERS,
            traffic_elsewhere_is_deployed_to=("if not service.percent_of_newest:", "if False:"),
            own_attempt_is_others_change=("if not data or", "if True or"),
            changes_are_not_told=("if service.spec else ()", "if False else ()"),
        ),
        defects_in(
            "services/serving/our_fields.py",
            CHANGED,
            what_the_release_before_deployed_is_a_change=(
                'if not written or written["revision"] != revision:',
                "if not written:",
                f"{CHANGED}::test_a_deploy_by_the_release_before_is_no_finding",
            ),
            secret_is_recorded_as_a_value=(
                " and one.name not in found.secrets:",
                ":",
                f"{CHANGED}::test_ours_is_put_back_by_a_deploy",
            ),
            unknown_value_counts_as_ours=(
                "if found.env.get(n) == _digest(v)}",
                "if n in found.env}",
                f"{CHANGED}::test_an_endpoint_of_before_takes_what_its_service_has",
            ),
            values_of_variables_are_told=(
                "words = f\"env {name} is {'changed'",
                "words = f\"env {name} is {found.env.get(name)} {'changed'",
                f"{OTHERS}::test_what_others_change_of_ours_is_told_and_then_set_again[env]",
            ),
        ),
        defects_in(
            "services/repairs/changed_services.py",
            CHANGED,
            label_stays_of_the_version_before=(
                "if service.labels.get(RUN) != run.uid.hex:",
                "if False:",
                f"{CHANGED}::test_the_files_of_another_version_are_taken_over_as_that_version",
            ),
            what_does_not_serve_is_recorded=(
                "    if not judged.serves:\n",
                "    if False:\n",
                f"{CHANGED}::test_a_change_that_does_not_serve_cannot_be_taken_over",
            ),
        ),
        defects_in(
            "services/deployment/deployable.py",
            DEPLOY,
            deploy_to_an_endpoint_of_a_deleted_model=(
                "(endpoint for endpoint in endpoints if not endpoint.model_deleted)",
                "iter(endpoints)",
                "services/test_deployment.py"
                "::test_a_living_version_of_that_lineage_gets_a_service_of_its_own",
            ),
            serving_endpoint_is_deleted=(
                "if not is_stopped(endpoint):",
                "if False:",
                "services/test_undeployment.py"
                "::test_an_endpoint_that_serves_or_may_serve_cannot_be_deleted",
            ),
            unblessed_version_is_deployed=(
                "if not run.is_accepted:",
                "if False:",
                "services/test_deployment.py"
                "::test_a_run_that_is_no_blessed_version_is_refused_and_the_refusal_is_in_the_history",
            ),
            unfinished_run_is_deployed=(
                "if run.status not in DEPLOYABLE_RUN_STATUSES:",
                "if False:",
                "services/test_deployment.py"
                "::test_a_run_that_is_no_blessed_version_is_refused_and_the_refusal_is_in_the_history",
            ),
            deployed_twice_alike=(
                "if serving and same and",
                "if False and same and",
                "services/test_deployment.py::test_what_serves_there_already_is_not_deployed_again",
            ),
            service_of_another_model=(
                "if target.registered_model_id != run.registered_model_id:",
                "if False:",
                "services/test_deployment.py"
                "::test_a_name_that_another_model_has_is_refused_and_so_is_one_cloud_run_would_not_take",
            ),
        ),
    )
)
