"""Metrics of the services on Cloud Run, read from Cloud Monitoring."""
