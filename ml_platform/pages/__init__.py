"""The HTML pages: read, make plain values for the template, render. A template runs no query."""
