"""Defects of numbers, scope, pages, the API and webhooks."""

from __future__ import annotations

from itertools import chain

from .defect import Defect, defects_in

DEFINITIONS = "doors/test_definitions.py"
NUMBERS = "doors/test_every_number.py"
LEAKS = "doors/test_tenant_leaks.py"
KEYS = "doors/test_api_keys.py"
AUTH = "doors/test_credentials.py doors/test_api_auth.py"
WEBHOOKS = "doors/test_webhooks.py"
TRAINING = "services/test_training.py services/test_training_poll.py"

DEFECTS: tuple[Defect, ...] = tuple(
    chain(
        defects_in(
            "kpis/totals.py",
            DEFINITIONS,
            ignored_findings_are_open=(
                "of_projects(Finding.objects.open(), projects)",
                "of_projects(\n"
                '        Finding.objects.filter(status__in=("open", "ignored")), projects\n'
                "    )",
            ),
            every_served_model_is_deployed=(
                '"deployed": Sum("n", filter=Q(serving=ServingStatus.DEPLOYED), default=0)',
                '"deployed": Sum("n", default=0)',
            ),
            every_endpoint_is_active=(
                '"endpoints_active": Count("pk", filter=Q(is_active=True))',
                '"endpoints_active": Count("pk")',
            ),
            ended_schedules_live=("schedules.filter(state__in=LIVE_SCHEDULE_STATES)", "schedules"),
            numbers_of_everybody=(
                "return rows.filter(project__in=projects)",
                "return rows",
                NUMBERS,
            ),
        ),
        defects_in(
            "models/registry/model_count.py",
            NUMBERS,
            counters_of_everybody=("return self.filter(project__in=projects)", "return self"),
        ),
        defects_in(
            "models/counting/rules.py",
            "unit/test_counting.py",
            a_version_that_may_be_deployed_by_now_counts_as_before=(
                'f"({version}) AND ({facts} OR {deployable})"',
                'f"({version}) AND {facts}"',
            ),
        ),
        defects_in(
            "models/endpoints/serving_status.py",
            "doors/test_serving_words.py",
            what_cannot_be_deployed_outdates=(
                "TrainingRun.objects.deployable().filter(",
                "TrainingRun.objects.versions().filter(",
            ),
            a_version_that_is_gone_is_the_newest=(
                "Q(run__registration__in=HOLDS_POINTER) & ~Q(",
                "~Q(",
            ),
        ),
        defects_in(
            "models/registry/judgement.py",
            "services/test_approval.py",
            not_judged_is_taken_for_blessed=(
                "return is_blessed is True",
                "return is_blessed is not False",
            ),
            withdrawn_is_deployed=("return approval == Approval.APPROVED", "return True"),
            a_withdrawn_version_is_the_newest=(
                "Q(approval=Approval.NONE, is_blessed=True)",
                "Q(is_blessed=True)",
                "doors/test_serving_words.py"
                "::test_the_rows_that_can_be_deployed_are_those_that_a_deploy_accepts",
            ),
        ),
        defects_in(
            "models/snapshots.py",
            "doors/test_one_snapshot.py",
            each_statement_sees_another_state=(
                "if connection.in_atomic_block or not connection.get_autocommit():",
                "if True:",
            ),
            a_snapshot_takes_the_write_lock=('connection.transaction_mode = "DEFERRED"', "pass"),
        ),
        defects_in(
            "api/system.py",
            NUMBERS,
            assets_of_everybody=("kpis.assets(limit)", "kpis.assets(None)"),
            counts_of_everybody=("kpis.four_counts(limit)", "kpis.four_counts(None)"),
            findings_of_everybody=("kpis.open_findings(limit)", "kpis.open_findings(None)"),
            traffic_of_everybody=(
                "today=now.date(), projects=limit)",
                "today=now.date(), projects=None)",
            ),
        ),
        defects_in(
            "api/runs.py",
            LEAKS,
            runs_of_everybody=("request.auth.only(RUNS)", "RUNS"),
        ),
        defects_in(
            "api/endpoints.py",
            LEAKS,
            endpoints_of_everybody=("request.auth.only(ENDPOINTS)", "ENDPOINTS"),
        ),
        defects_in(
            "services/access/scope.py",
            NUMBERS,
            member_sees_all=("filter(members=user), everything=False)", "all(), everything=False)"),
            staff_without_permission_sees_all=(
                "return bool(staff and may is not None and "
                'may(f"{app_label}.view_{name.lower()}"))',
                "return bool(staff)",
                "doors/test_credentials.py"
                "::test_all_projects_are_seen_by_staff_with_the_permission_only",
            ),
        ),
        defects_in(
            "api/http/auth.py",
            AUTH,
            other_schemes_fall_through=(
                "    if header is not None:\n        return _bearer(header)",
                '    if header is not None and header.startswith("Bearer "):\n'
                "        return _bearer(header)",
                "doors/test_credentials.py::test_another_scheme_beside_a_good_session_is_refused",
            ),
            session_without_csrf=(
                "        _require_csrf(request)\n    return user",
                "        pass\n    return user",
            ),
            revoked_user_goes_on=(", user__is_active=True)", ")"),
        ),
        defects_in(
            "api/http/idempotency.py",
            KEYS,
            other_body_is_answered=("if stored.request_digest != digest:", "if False:"),
            refusals_are_kept=("if response.status_code >= 300 or", "if"),
            who_may_no_more_is_answered=("    _require_still(caller, stored.checked)\n", ""),
        ),
        defects_in(
            "api/webhooks.py",
            WEBHOOKS,
            failed_job_answers_success=(
                '503 if status == "error" else 200',
                "200",
                "doors/test_job_rings.py",
            ),
        ),
        defects_in(
            "management/commands/resume_operations.py",
            "doors/test_credentials.py",
            failure_exits_with_success=("return 1 if failed else 0", "return 0"),
        ),
        defects_in(
            "pages/training/registry_table.py",
            DEFINITIONS,
            stopped_endpoint_serves=(
                "[e.serves_newest for e in endpoints if e.is_active]",
                "[e.serves_newest for e in endpoints]",
            ),
            no_verdict_is_not_blessed=("if run.is_blessed is None:", "if False:"),
            newest_number_is_the_count=("if newest == total else", "if total else"),
        ),
        defects_in(
            "services/training/polling.py",
            "services/test_training_poll.py",
            anybodys_pipeline_is_ours=(
                "case Present(value=job) if job.labels.get(RUN) != run.uid.hex:",
                "case Present(value=job) if False:",
                "services/test_names_used_again.py"
                "::test_a_pipeline_with_another_runs_label_ends_no_run",
            ),
            young_pipeline_is_forgotten=(" and now - run.submitted_at >= SETTLING:", ":"),
            unblessed_is_completed=(
                "RunStatus.COMPLETED if blessed else RunStatus.NOT_BLESSED",
                "RunStatus.COMPLETED",
            ),
        ),
        defects_in(
            "services/scheduling/schedules.py",
            "services/test_scheduling.py",
            paused_schedule_rings=(
                "if locked.state != ScheduleState.ACTIVE:",
                "if False:",
                "services/test_scheduling.py"
                "::test_a_paused_or_ended_schedule_or_one_that_has_not_begun_trains_nothing",
            ),
            tick_rung_twice_runs_twice=(
                "known := TrainingRun.objects.filter(schedule=locked, scheduled_for=tick).first()",
                "known := None",
                "services/test_scheduling.py::test_a_schedule_for_once_ends_with_its_run",
            ),
            future_tick_takes_its_place=(
                "if tick > now + EARLY:",
                "if False:",
                "services/test_scheduling.py"
                "::test_a_ring_forced_in_the_console_does_not_take_the_next_ticks_place",
            ),
            schedule_begins_at_once=(
                "if locked.starts_at and tick < locked.starts_at:",
                "if False:",
                "services/test_scheduling.py"
                "::test_a_paused_or_ended_schedule_or_one_that_has_not_begun_trains_nothing",
            ),
        ),
        defects_in(
            "models/registry/training_run.py",
            "services/test_names_used_again.py::test_a_schedule_does_not_take_its_runs_with_it",
            schedule_takes_its_runs=(
                '"ml_platform.TrainingSchedule",\n        null=True,\n        blank=True,\n'
                "        on_delete=models.PROTECT",
                '"ml_platform.TrainingSchedule",\n        null=True,\n        blank=True,\n'
                "        on_delete=models.CASCADE",
                "services/test_names_used_again.py::test_a_schedule_does_not_take_its_runs_with_it",
            ),
        ),
        defects_in(
            "localcloud/run/services.py",
            "localcloud/test_late_and_stale.py",
            late_deletion_ignores_its_etag=(
                "        rules.check_etag(pb_request.etag, stored.etag)\n"
                "        self._store.delete(SERVICE",
                "        self._store.delete(SERVICE",
                "localcloud/test_late_and_stale.py"
                "::test_a_late_deletion_does_not_take_what_was_changed_meanwhile",
            ),
        ),
        defects_in(
            "localcloud/gcs/tables/store.py",
            "localcloud/test_late_and_stale.py",
            storage_never_reads_stale=(
                "_EVER if horizon is None else int(horizon * 1_000_000)",
                "_EVER",
                "localcloud/test_late_and_stale.py"
                "::test_a_stale_listing_of_objects_hides_what_is_new",
            ),
        ),
        defects_in(
            "cloud/identity.py",
            "cloud/test_identity.py",
            any_audience=(
                '(_same(claims.get("aud"), audience), "it',
                '(True, "it',
                "cloud/test_identity.py::test_a_forged_token_is_denied",
            ),
            any_identity=(
                '(sum(_same(email, allowed) for allowed in emails) > 0, "it',
                '(True, "it',
                "cloud/test_identity.py::test_a_forged_token_is_denied",
            ),
            any_signature=(
                "if not _is_signed(signed, signature, certificate):",
                "if False:",
                "cloud/test_identity.py::test_a_forged_token_is_denied",
            ),
        ),
        defects_in(
            "actions/endpoints.py",
            LEAKS,
            endpoint_of_a_stranger=(
                "return find_endpoint(caller, given.endpoint)",
                "return with_differences(ENDPOINTS).get(pk=given.endpoint)",
            ),
            run_of_a_stranger=(
                "find_run(caller, given.run) if",
                "TrainingRun.objects.get(pk=given.run) if",
            ),
        ),
        defects_in(
            "actions/caller.py",
            "doors/test_credentials.py",
            key_of_everybody=('f"{origin}:{user.pk}:{key}"', 'f"{origin}:{key}"'),
        ),
        defects_in(
            "actions/action.py",
            AUTH,
            right_is_not_asked=("    caller.require(action.right_for(subject))\n", ""),
            known_request_is_judged_again=(
                "if not is_known and not action",
                "if not action",
                "doors/test_api_keys.py"
                "::test_a_deploy_sent_again_is_answered_though_its_version_may_not_be_deployed_now",
            ),
        ),
    )
)
