"""Repairs of findings. Each reads the current state again before it changes anything."""
