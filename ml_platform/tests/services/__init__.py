"""The verbs, against the local cloud."""
