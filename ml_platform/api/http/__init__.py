"""Authentication, errors, idempotency, pagination and the OpenAPI contract of all requests."""
