"""One step of training: how it is computed on this machine, and the optimisers that take it."""
