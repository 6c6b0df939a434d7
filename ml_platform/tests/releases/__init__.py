"""Two releases on one database and one local cloud: `python -m ml_platform.tests.releases`."""
