"""Foreign projects, made by scripts, that hold the built wheel: a table host x check."""
