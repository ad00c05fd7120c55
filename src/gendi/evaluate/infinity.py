"""The Fréchet distance extrapolated to infinitely many samples.  [Chong and Forsyth 2020, "Effectively unbiased FID"]

The Fréchet distance of n samples is too large by about a / n, where a depends on the model, so at equal n even the
ranking of two models may be that of their a. A straight line in 1 / n through distances of smaller sets, continued to
1 / n = 0, takes the first order of this bias away. Chong and Forsyth keep the reference and draw random subsets of the
samples; here the reference has only as many images as the samples and is biased alike, so both are cut into the same
number of disjoint parts, and a point of the line is the mean over the parts. The kernel distance needs no such line: it
is unbiased at every n.
"""

import numpy as np
from jaxtyping import Int64

from gendi.diffusion.randomness import stream
from gendi.evaluate.feature_intervals import frechet_distances
from gendi.evaluate.intervals import halves, halves_error, measured
from gendi.evaluate.metrics import Features
from gendi.evaluate.result import Estimate
from gendi.machine.stopping import Poll

PARTS = (1, 2)
"""Into how many disjoint parts a set is cut, for one point of the line each. Smaller parts would bend the line more."""
SPLITS = 20
PER_DIMENSION = 4
"""Fewest rows for each dimension in the smallest part. About 2 d / n of the bias of n rows is left, with its sign
changed: a quarter for so few, a twentieth for 5000 rows of 96 dimensions."""


def rows_needed(dimensions: int) -> int:
    """Return the fewest rows whose distance can be extrapolated."""
    return max(PARTS) * PER_DIMENSION * dimensions


def frechet_at_infinity(x: Features, reference: Features, seed: int = 0, poll: Poll | None = None) -> Estimate:
    """Return the extrapolated Fréchet distance of two sets, which chance may bring below 0, with its interval.

    The standard error is that of paired halves of both sets, so it includes the chance in the reference. An `Estimate`
    of None is returned for fewer rows than `rows_needed`.
    """
    n = min(len(x), len(reference))
    if n < rows_needed(x.shape[1]):
        return Estimate(None)
    pairs = []
    firsts, seconds = (halves(n, SPLITS, seed, f"infinity, {which}") for which in ("samples", "reference"))
    for first, second in zip(firsts, seconds, strict=True):
        pairs.append([_extrapolated(x, reference, a, b, poll) for a, b in zip(first, second, strict=True)])
    rng = stream(seed, "infinity, parts")  # rows of a file may be sorted
    ours, theirs = (rng.permutation(n).astype(np.int64) for _ in range(2))
    value = _extrapolated(x, reference, ours, theirs, poll)
    return measured(value, halves_error(np.array(pairs), quadratic=False))


def _extrapolated(
    x: Features,
    reference: Features,
    ours: Int64[np.ndarray, " h"],
    theirs: Int64[np.ndarray, " h"],
    poll: Poll | None,
) -> float:
    """Return where the line of least squares through the distances of parts meets 1 / n = 0."""
    inverse, distance = [], []
    for parts in PARTS:
        size = len(ours) // parts
        found = []
        for start in range(0, size * parts, size):
            rows = slice(start, start + size)
            found += frechet_distances(x, reference[theirs[rows]], [ours[rows]], poll)
        inverse.append(1 / size)
        distance.append(float(np.mean(found)))
    return float(np.polyfit(inverse, distance, 1)[1])
