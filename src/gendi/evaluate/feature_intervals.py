"""Standard errors of the metrics on features (see `gendi.evaluate.intervals`).

The Fréchet distance, the kernel distance, precision and density are taken against a reference that stays as it is, as
it does for all evaluations of one seed: their errors say how far other samples would move them. Recall and coverage are
shares of the *reference*. In a part of a set of samples the neighbours are farther away, so for these two the reference
is cut along with the samples, and the error includes the chance in the reference, which widens it by a fifth or so.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64

from gendi.evaluate.intervals import SPLITS, cut, halves, halves_error
from gendi.evaluate.kernel_errors import Within, error_of_first
from gendi.evaluate.metrics import Features, kth_neighbour, open_balls, rounding, squared_distances
from gendi.machine.stopping import Poll, may_stop

WIDE, SPLITS_WIDE = 256, 20
"""Above so many dimensions the distances of halves cost more, and their average over dimensions scatters less: fewer
splits do."""
PARTS, PARTITIONS = 4, 7
"""For metrics of neighbours: cuts into quarters have 7 * 3 = 21 degrees of freedom, about as 20 splits into halves."""


def frechet_error(x: Features, reference: Features, seed: int = 0, poll: Poll | None = None) -> float | None:
    """Return the standard error of `frechet_from_features(x, reference)` over sets x; None for fewer than 4 rows of x
    or 2 of the reference."""
    n = len(x)
    if n < 4 or len(reference) < 2:
        return None
    count = SPLITS if min(n // 2, len(reference), x.shape[1]) <= WIDE else SPLITS_WIDE
    parts = [half for pair in halves(n, count, seed, "Fréchet halves") for half in pair]
    return halves_error(np.array(frechet_distances(x, reference, parts, poll)).reshape(-1, 2))


def frechet_distances(
    x: Features, reference: Features, parts: Sequence[Int64[np.ndarray, " _"]], poll: Poll | None = None
) -> list[float]:
    """Return the Fréchet distance between each of some sets of rows of x and the reference, as
    `frechet_from_features` has it.

    With a root S of the reference's covariance, S S' = C, the last term of the distance is the sum of the singular
    values of the centred rows times S. The product of all rows with S is computed once, and the singular values come
    from the smaller of its two Gram matrices, which costs them half of their digits and all parts a tenth of the time.
    """
    x, reference = x.astype(np.float64), reference.astype(np.float64)
    mean = reference.mean(axis=0)
    centred = (reference - mean) / np.sqrt(len(reference) - 1)
    if len(reference) < x.shape[1]:
        root = centred.T
    else:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        root = vectors * np.sqrt(np.maximum(values, 0))
    x = x - mean
    product, squares, trace = x @ root, np.einsum("ij,ij->i", x, x), float(np.sum(centred**2))

    def distance(rows: np.ndarray) -> float:
        may_stop(poll)
        h, shift = len(rows), x[rows].mean(axis=0)
        p = product[rows] - product[rows].mean(axis=0)
        gram = p @ p.T if h < p.shape[1] else p.T @ p
        singular = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0) / (h - 1)).sum()
        own = (squares[rows].sum() - h * float(shift @ shift)) / (h - 1)
        return float(shift @ shift + own + trace - 2 * singular)

    return [distance(rows) for rows in parts]


def kernel_error(x: Features, reference: Features, poll: Poll | None = None) -> float | None:
    """Return the standard error of `kernel_distance(x, reference).value` over sets x; None for fewer than 4 rows."""
    n = len(x)
    if n < 4 or len(reference) < 2:
        return None
    x, reference = x.astype(np.float64), reference.astype(np.float64)
    across = np.zeros(n)
    for rows, values in _cubic(x, reference, poll):
        across[rows] = values.mean(axis=1)
    return error_of_first(Within.of(n, _cubic(x, x, poll)), across)


def _cubic(x: Features, y: Features, poll: Poll | None) -> Iterator[tuple[slice, Float64[np.ndarray, "_ _"]]]:
    block = max(1, (1 << 22) // len(y))
    for start in range(0, len(x), block):
        may_stop(poll)
        rows = slice(start, min(start + block, len(x)))
        values = x[rows] @ y.T / x.shape[1] + 1
        yield rows, values * values * values  # a third power by NumPy takes ten times as long


class DesignEffects(NamedTuple):
    """The variances of recall and coverage over those of shares of independent rows; None is unknown.  [Kish 1965]"""

    recall: float | None
    coverage: float | None


def design_effects(
    real: Features, fake: Features, k: int, density_k: int, seed: int = 0, poll: Poll | None = None
) -> DesignEffects:
    """Return the design effects of recall, for balls to the k-th neighbour, and coverage, to the `density_k`-th.

    Both sets are cut at random into quarters, and the variance between the quarters' shares p is compared with that of
    h independent rows each, p (1 - p) / h, over `PARTITIONS` such cuts. A quarter has a 16th of the whole's pairs, so
    that all cuts together cost less than the metrics. Sets of fewer than 24 rows are cut into as many parts as have
    neighbours enough, at least two; for smaller ones the effects are None.
    """
    used = min(len(real), len(fake))
    parts = min(PARTS, used // (max(k, density_k) + 1))
    if parts < 2:
        return DesignEffects(None, None)
    cuts = (cut(used, parts, PARTITIONS, seed, f"neighbour parts {which}") for which in ("real", "fake"))
    shares = np.zeros((PARTITIONS, parts, 2))
    for i, (reals, fakes) in enumerate(zip(*cuts, strict=True)):
        may_stop(poll)
        shares[i] = [_recall_coverage(real[r], fake[f], k, density_k) for r, f in zip(reals, fakes, strict=True)]
    p = shares.mean(axis=(0, 1))
    independent = p * (1 - p) / (used // parts)
    between = shares.var(axis=1, ddof=1).mean(axis=0)
    return DesignEffects(*(float(b / v) if v > 0 else 1.0 for b, v in zip(between, independent, strict=True)))


def _recall_coverage(real: Features, fake: Features, k: int, density_k: int) -> tuple[float, float]:
    """Return recall and coverage, as `precision_recall` and `density_coverage` have them."""
    error = rounding(real, fake)
    closed, opened = kth_neighbour(fake, k) + error, kth_neighbour(real, density_k) - error
    recalled, covered = 0, 0
    for rows, squared in squared_distances(real, fake):
        recalled += int((squared <= closed).any(axis=1).sum())
        covered += int((squared.min(axis=1) < opened[rows]).sum())
    return recalled / len(real), covered / len(real)


def crowding(real: Features, fake: Features, k: int) -> Float64[np.ndarray, " _"]:
    """Return for each fake row the number of real balls that hold it, divided by k: density is the mean of these."""
    crowd = np.zeros(len(fake))
    for _, inside in open_balls(real, fake, k):
        crowd += inside.sum(axis=0)
    return np.asarray(crowd / k)
