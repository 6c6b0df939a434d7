"""Assertions of Google's own test suites, retold."""
