"""Flags of a run that trains in a second: a small network with two classes and T = 10."""

TINY = [
    *("--network.channels", "8", "16", "--network.groups", "4", "--network.time-dim", "16"),
    *("--condition", "class"),
    *("--batch-size", "4", "--process.steps", "10", "--objective.time-sampling", "discrete"),
    *("--train.precision", "fp32", "--train.layout", "contiguous", "--sample.guidance", "1"),
]
