"""The HTML door: read, serialize into frozen dataclasses, render. A template asks no query."""
