"""Files that are whole or not there, locks, tensors and tables of plain values, each checked when it is read."""
