"""Cleanups of what nothing needs: old artifacts, orphans, stray folders."""
