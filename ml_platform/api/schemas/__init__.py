"""What the API takes and answers: types, examples, serializers."""
