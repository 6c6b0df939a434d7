"""A demo host: a minimal Django site with the app."""
