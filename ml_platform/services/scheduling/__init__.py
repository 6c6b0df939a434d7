"""Training schedules and the platform jobs, as Cloud Scheduler jobs."""
