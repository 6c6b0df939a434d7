"""What a button does, and the forms that ask for a reason."""
