"""The surroundings of a process: its devices, the other processes of its run, and packages that are loaded late."""
