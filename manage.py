#!/usr/bin/env python
"""The command line of the demo host."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command that was given; an interrupt is no defect, also while it is starting."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ml_platform.demo.settings")
    try:
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
