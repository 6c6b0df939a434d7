"""`manage.py cleanup_gcs_artifacts`: run the daily job once."""

from __future__ import annotations

from argparse import ArgumentParser

from ml_platform.management.job_command import JobCommand


class Command(JobCommand):
    help = "Delete the artifacts of old runs that are not a version."
    job = "cleanup-gcs-artifacts"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the options for what else to delete."""
        super().add_arguments(parser)
        parser.add_argument(
            "--include-registered",
            action="store_true",
            help="also delete those of runs whose version was lost, after checking Vertex AI; "
            "never those of a version",
        )
        parser.add_argument(
            "--delete-strays", action="store_true", help="also delete folders that belong to no run"
        )

    def options(self) -> tuple[str, ...]:
        """Return the options that are passed to the job."""
        return ("days", "include_registered", "delete_strays")
