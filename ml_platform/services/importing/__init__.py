"""Bring the rows of a host's own tables into ours."""
