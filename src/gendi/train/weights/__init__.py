"""The weights of a run: the network that has them, their division among processes, and their averages."""
