"""ml_platform: a model registry that stays true across database, Vertex AI, GCS and Cloud Run."""
