"""A stand-in host: the smallest Django site that the app can live in."""
