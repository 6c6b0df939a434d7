"""The local cloud, driven by the real client libraries as a stranger would."""
