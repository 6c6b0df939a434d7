"""The tests of ml_platform, by room."""
