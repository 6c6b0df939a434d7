"""`manage.py cleanup_gcs_artifacts`: the daily job, by hand."""

from __future__ import annotations

from argparse import ArgumentParser

from ml_platform.management.job_command import JobCommand


class Command(JobCommand):
    help = "Delete the artifacts of runs that ended long ago and are no version."
    job = "cleanup-gcs-artifacts"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What else to take."""
        super().add_arguments(parser)
        parser.add_argument(
            "--include-registered",
            action="store_true",
            help="also runs whose version was lost, after asking Vertex AI again; "
            "never those of a version",
        )
        parser.add_argument(
            "--delete-strays", action="store_true", help="also folders that belong to no run"
        )

    def options(self) -> tuple[str, ...]:
        """The options that are handed to the job."""
        return ("days", "include_registered", "delete_strays")
