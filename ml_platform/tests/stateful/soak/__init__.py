"""The soak: the whole installation as real processes on PostgreSQL, under use and under trouble."""
