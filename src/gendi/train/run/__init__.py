"""A run from beginning to end, and what it would take."""
