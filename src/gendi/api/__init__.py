"""gendi from Python, and what the commands share with it."""
