"""Sweeps: read every plane once and compare it with our tables."""
