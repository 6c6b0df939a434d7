"""What pages pass to templates: plain values, and the functions that make them from rows."""
