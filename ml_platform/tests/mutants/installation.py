"""Defects of the marker, of the labels of who we are, and of what is derived from our uid."""

from __future__ import annotations

from itertools import chain

from .defect import Defect, defects_in

MARKER = "services/test_marker.py"
BACKUP = f"{MARKER}::test_a_restored_backup_deletes_nothing_until_a_person_confirms_it"
TWO = "services/test_two_installations.py"

DEFECTS: tuple[Defect, ...] = tuple(
    chain(
        defects_in(
            "services/installation/marker.py",
            BACKUP,
            nonce_of_the_marker_is_not_compared=(
                'and found.nonce in {row.nonce, row.next_nonce} - {""}',
                "",
            ),
            write_under_way_is_a_copy=(
                "{row.nonce, row.next_nonce}",
                "{row.nonce}",
                f"{MARKER}::test_a_crash_between_the_commit_and_the_write_or_after_it_stops_nothing",
            ),
            missing_marker_is_claimed_again=(
                "    if row.marker == str(place()):\n        reason",
                "    if False:\n        reason",
                f"{MARKER}::test_a_marker_that_cannot_be_read_makes_a_deletion_wait_and_not_fail",
            ),
            marker_is_replaced_whatever_it_is=(
                "            generation=found.generation,\n",
                "",
                f"{MARKER}::test_a_marker_that_another_database_puts_between_look_and_write_stays",
            ),
            marker_is_not_replaced_before_a_deletion=(
                "_check(clock, older_than=RENEW_AFTER)",
                "_check(clock, older_than=DAILY)",
                f"{MARKER}::test_a_new_bucket_is_claimed_and_the_marker_is_replaced_once_a_day"
                "_and_before_deletions",
            ),
        ),
        defects_in(
            "services/deletion/steps.py",
            BACKUP,
            deletion_does_not_ask_whose_it_is=(
                "    marker.require_ours(clock=work.clock)\n"
                "    work.state = replace(work.state, marked=True)",
                "    work.state = replace(work.state, marked=True)",
                f"{MARKER}::test_a_refused_deletion_marks_nothing",
            ),
        ),
        defects_in(
            "services/installation/identity.py",
            TWO,
            ids_are_not_derived_from_our_uid=(
                "return uuid5(current().uid, text)",
                "return uuid5(UUID(int=1), text)",
                f"{TWO}::test_both_register_and_neither_uploads_into_the_others_model",
            ),
            uid_of_another_is_ours=(
                "return installation != self.uid",
                "return False",
                f"{TWO}::test_what_belongs_to_the_other_is_shown_as_theirs_and_is_no_finding",
            ),
        ),
        defects_in(
            "services/ownership/labels.py",
            TWO,
            old_labels_are_ours_whatever_they_name=(
                "return is_uid(uid) and table.objects.filter(uid=uid).exists()",
                "return is_uid(uid)",
                f"{TWO}::test_a_model_whose_old_labels_name_a_run_of_another_database_gets_no_version",
            ),
        ),
        defects_in(
            "services/scheduling/platform_jobs.py",
            "doors/test_foreign_jobs.py",
            job_of_another_is_taken_over=(
                "        _require_own_target(work, job)\n",
                "",
                "doors/test_foreign_jobs.py"
                "::test_the_second_installation_is_refused_in_a_sentence_and_a_prefix_helps",
            ),
        ),
    )
)
