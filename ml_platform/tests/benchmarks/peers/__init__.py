"""MLflow's model registry and ours, both as servers, asked the same in turn."""
