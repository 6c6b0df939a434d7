"""Requests and answers of the API: types, examples, serializers."""
