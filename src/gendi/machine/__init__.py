"""What a process runs on and beside: devices, other processes of the run, packages that are loaded late."""
