"""What Google's own suites assert, told again."""
