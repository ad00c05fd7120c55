"""Files that are whole or absent, locks, and files of tensors and plain values that are checked when they are read."""
