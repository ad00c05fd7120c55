"""What runs keep on disk, and what a later run takes from it."""
