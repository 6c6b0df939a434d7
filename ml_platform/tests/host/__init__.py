"""A small host of somebody else's, with a Project model and habits of its own."""
