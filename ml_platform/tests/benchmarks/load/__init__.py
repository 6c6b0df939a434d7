"""The whole installation under requests at a fixed rate."""
