"""The HTML door: read, make plain values for the template, render. A template runs no query."""
