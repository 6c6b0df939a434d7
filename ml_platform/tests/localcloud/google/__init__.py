"""Assertions of Google's own test suites, retold against the local cloud."""
