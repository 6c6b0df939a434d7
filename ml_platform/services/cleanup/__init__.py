"""Cleanups of unused resources: old artifacts, orphans, stray folders."""
