"""The page of a model, and the page that deletes versions of it."""
