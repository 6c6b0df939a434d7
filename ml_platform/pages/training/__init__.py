"""The training page of a project, and its forms."""
