"""Defects of deploy, undeploy and what is said of endpoints."""

from __future__ import annotations

from itertools import chain

from .defect import Defect, defects_in

DEPLOY = "services/test_deployment.py"
TROUBLE = "services/test_deployment_trouble.py"
KEYS = "services/test_keys_of_verbs.py"
AGAIN = "services/test_names_used_again.py"

DEFECTS: tuple[Defect, ...] = tuple(
    chain(
        defects_in(
            "services/deployment/deploy.py",
            KEYS,
            deploy_key_without_configuration=(
                '"service": wanted, "config": _said(config)}',
                '"service": wanted}',
            ),
            deploy_key_without_service=('{"run": run.pk, "service": wanted, ', '{"run": run.pk, '),
            redeploy_key_without_run=('            "run": run.pk if run else None,\n', ""),
            rollback_key_like_a_redeploy=(
                'request={"endpoint": endpoint.pk, "rollback": True}',
                'request={"endpoint": endpoint.pk}',
            ),
            deploy_is_not_answered_again=(
                "        if known := asked.answered():\n"
                "            return known\n"
                "        service = endpoint",
                "        service = endpoint",
            ),
            deploy_to_an_endpoint_of_a_deleted_model=(
                "filter(model_deleted=False)",
                "all()",
                DEPLOY,
            ),
            rollback_with_the_configuration_of_now=(
                "from_dict(endpoint.previous_config)",
                "from_dict(endpoint.config)",
                DEPLOY,
            ),
        ),
        defects_in(
            "services/deployment/undeploy.py",
            AGAIN,
            undeploy_forgets_its_key=("            idempotency_key=idempotency_key,\n", "", KEYS),
            undeploy_of_unknown_outcome_is_active=(
                "    if SENT in work.data:\n        DeployedEndpoint",
                "    if False:\n        DeployedEndpoint",
            ),
            undeploy_of_a_young_service_is_done=(
                "else seconds_until_consistent(endpoint.deployed_at, now=work.clock())",
                "else 0.0",
                "services/test_undeployment.py",
            ),
            serving_endpoint_is_deleted=(
                "if not _is_stopped(row):",
                "if False:",
                "services/test_undeployment.py",
            ),
        ),
        defects_in(
            "services/deployment/endpoint_state.py",
            DEPLOY,
            unblessed_version_is_deployed=("if run.is_blessed is not True:", "if False:"),
            unfinished_run_is_deployed=(
                "if run.status not in {*SUCCEEDED_RUN_STATUSES, RunStatus.NOT_BLESSED}:",
                "if False:",
            ),
            deployed_twice_alike=("if serving and same and", "if False and same and"),
            service_of_another_model=(
                "if endpoint.registered_model_id != run.registered_model_id:",
                "if False:",
            ),
            previous_version_is_forgotten=("        endpoint.previous_run_id = before\n", ""),
            failed_deploy_keeps_serving_what_is_gone=(
                "endpoint.is_active = served and not gone",
                "endpoint.is_active = served",
                TROUBLE,
            ),
            run_of_two_endpoints_stops_with_one=(
                "if DeployedEndpoint.objects.filter(run_id=run_id, is_active=True).exists():",
                "if DeployedEndpoint.objects.filter(run_id=run_id, is_active=True).count() > 1:",
            ),
        ),
        defects_in(
            "services/deployment/steps.py",
            TROUBLE,
            young_version_is_gone=(
                "if seconds := seconds_until_consistent(run.registered_at, now=work.clock()):",
                "if seconds := 0:",
            ),
            not_found_without_a_listing=("        _require_listing()\n", ""),
            pointer_of_missing_artifacts_stays=(
                'TrainingRun.objects.filter(pk=run.pk).update(gcs_artifacts_path="")',
                "pass",
            ),
            deploy_sent_is_stood_down=(
                "    if SENT in work.data:\n        mark",
                "    if False:\n        mark",
            ),
        ),
        defects_in(
            "services/deployment/rollout.py",
            TROUBLE,
            version_before_is_not_brought_back=('if work.data.get("before"):', "if False:"),
            what_failed_stays=(
                'return Next(to="remove", note=reason)',
                'return Next(to="give_up", note=reason)',
            ),
        ),
        defects_in(
            "services/deployment/serving.py",
            "unit/test_serving.py",
            ready_without_traffic_serves=(
                "(share := share_of(service, newest)) != 100",
                "(share := share_of(service, newest)) < 0",
            ),
            older_revision_serves=("if service.latest_ready_revision != newest:", "if False:"),
            unknown_keys_are_taken=(
                "if unknown := sorted(given.keys() - known):",
                "if unknown := []:",
            ),
            reserved_names_are_taken=(
                "not any(_RESERVED_ENV.fullmatch(name)",
                "not all(_RESERVED_ENV.fullmatch(name)",
            ),
            owner_may_set_the_artifacts=(
                "            **given.env,\n            ARTIFACT_ENV: artifact_uri,\n",
                "            ARTIFACT_ENV: artifact_uri,\n            **given.env,\n",
            ),
        ),
    )
)
