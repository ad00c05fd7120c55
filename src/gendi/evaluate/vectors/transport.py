"""Wasserstein distances between two equally large sets: exact, and averaged over random directions.

The exact distance

    W1(x, y) = min over permutations p of mean |x_i - y_p(i)|

is an assignment problem, whose cost is cubic in n. Along a line the sorted order solves it, so the mean over random
directions (sliced W1, Bonneel et al. 2015) costs one sort for each. Both are biased upwards, by more for smaller n, so
compare them only with a floor of the same n.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from gendi.diffusion.randomness import stream
from gendi.errors import UsageError
from gendi.evaluate.metrics import Features, squared_distances

DIRECTIONS = 128


def wasserstein(x: Features, y: Features) -> float:
    """Return the exact W1 with the Euclidean cost. Raises `UsageError` unless the sets are equally large."""
    _checked(x, y)
    cost = np.sqrt(np.concatenate([squared for _, squared in squared_distances(x, y)]))
    return float(cost[linear_sum_assignment(cost)].mean())


def directions(dimensions: int, seed: int = 0, count: int = DIRECTIONS) -> Features:
    """Return `count` directions (dimensions, count), uniform on the sphere, the same for the same seed."""
    drawn = stream(seed, "sliced directions").standard_normal((dimensions, count))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=0))


def sliced_wasserstein(x: Features, y: Features, along: Features) -> float:
    """Return the mean W1 of the projections on the directions `along` (d, k).

    Raises `UsageError` unless the sets are equally large.
    """
    _checked(x, y)
    return float(np.abs(np.sort(x @ along, axis=0) - np.sort(y @ along, axis=0)).mean())


def _checked(x: Features, y: Features) -> None:
    if x.shape != y.shape or not len(x):
        raise UsageError(f"Sets of shapes {x.shape} and {y.shape} cannot be paired: give equally many rows of both.")
