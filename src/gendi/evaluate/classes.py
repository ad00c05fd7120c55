"""The answers of a classifier for a set of images: how sure they are, and whether every class has its share."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from gendi.errors import UsageError
from gendi.evaluate.comparison import Z95
from gendi.evaluate.intervals import SPLITS, around, halves, halves_error, measured, of_mean
from gendi.evaluate.result import Estimate
from gendi.evaluate.shares import SeenShares

Counts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ClassBalance:
    """Confidence and class histogram of a set of n images under a classifier of K classes."""

    n: int
    confidence: float
    """Mean over images of the largest softmax probability, in [1/K, 1]."""
    histogram: tuple[int, ...]
    """Images per predicted class; sums to n."""
    entropy: float
    """Entropy of the histogram in nats; at most `entropy_maximum` = ln K."""
    entropy_maximum: float
    chi_square: float
    """Chi-square of the histogram against the expected shares, which is K - 1 on average where these are right."""
    p_value: float
    """Probability of a chi-square at least this large where the shares are right."""


def class_balance(
    probabilities: Float[np.ndarray, "n k"], expected: SeenShares | Float[np.ndarray, " k"]
) -> ClassBalance:
    """Compare softmax `probabilities` (n, K) with the shares that the classifier should see.

    Frequencies (K,), which need not sum to 1, are those that a classifier should see that is always right. Raises
    `UsageError` for an empty set, and for a frequency of zero, for which chi-square has no meaning.
    """
    n, k = probabilities.shape
    if n == 0:
        raise UsageError("A class histogram needs at least one image.")
    histogram = np.bincount(probabilities.argmax(axis=1), minlength=k).astype(np.int64)
    tested = _shares(expected).test(histogram)
    return ClassBalance(
        n=n,
        confidence=float(probabilities.max(axis=1).mean(dtype=np.float64)),
        histogram=tuple(int(count) for count in histogram),
        entropy=entropy(histogram),
        entropy_maximum=float(np.log(k)),
        chi_square=tested.chi_square,
        p_value=tested.p_value,
    )


def class_estimates(
    probabilities: Float[np.ndarray, "n k"], expected: SeenShares | Float[np.ndarray, " k"], seed: int = 0
) -> dict[str, Estimate]:
    """Return `confidence`, `entropy`, `chi-square` and `p-value` of `class_balance` with their intervals.

    Chi-square is noncentral: with a noncentrality of l its variance is 2 (K - 1) + 4 l, and l is estimated by what
    chi-square exceeds its degrees of freedom by. The p-value's interval is that of chi-square, put through the tail of
    its distribution.
    """
    shares = _shares(expected)
    found, (n, k) = class_balance(probabilities, shares), probabilities.shape
    chosen = probabilities.argmax(axis=1)
    pairs = [
        [entropy(np.bincount(chosen[half], minlength=k).astype(np.int64)) for half in pair]
        for pair in halves(n, SPLITS, seed, "class halves")
    ]
    error = halves_error(np.array(pairs)) if n > 3 else None
    excess = max(found.chi_square - (k - 1), 0.0)
    low, high = around(found.chi_square, spread := float(np.sqrt(2 * (k - 1) + 4 * excess)), least=0.0)
    tail = (shares.p_value(high), shares.p_value(low))
    return {
        "confidence": confidence_of(probabilities),
        "entropy": measured(found.entropy, error, least=0.0, most=found.entropy_maximum),
        "chi-square": Estimate(found.chi_square, spread, (low, high)),
        "p-value": Estimate(found.p_value, (tail[1] - tail[0]) / (2 * Z95), tail),
    }


def confidence_of(probabilities: Float[np.ndarray, "n k"]) -> Estimate:
    """Return the mean of the largest softmax probabilities (n, K), with its interval."""
    return of_mean(probabilities.max(axis=1), least=1 / probabilities.shape[1], most=1.0)


def confusion_matrix(asked: Int64[np.ndarray, " n"], seen: Int64[np.ndarray, " n"], k: int) -> Counts:
    """Return how many samples that were asked to be of class i are seen as class j, K rows of K; an asked class below
    0 is none.

    Raises `UsageError` if a class is asked for that the classifier does not know.
    """
    known = asked >= 0
    if (asked >= k).any():
        raise UsageError(f"Class {int(asked.max())} was asked for; the classifier knows the classes 0 to {k - 1}.")
    counts = np.bincount(asked[known] * k + seen[known], minlength=k * k).reshape(k, k)
    return tuple(tuple(row) for row in counts.tolist())


def entropy(histogram: Int64[np.ndarray, " k"]) -> float:
    """Return -sum p ln p in nats, with 0 ln 0 = 0."""
    p = histogram[histogram > 0] / histogram.sum()
    return float(max(-(p * np.log(p)).sum(), 0.0))


def _shares(expected: SeenShares | Float[np.ndarray, " k"]) -> SeenShares:
    return expected if isinstance(expected, SeenShares) else SeenShares.known(expected)
