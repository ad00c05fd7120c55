"""The answers of a classifier for a set of images: how sure they are, and whether every class has its share."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from gendi.errors import UsageError


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
    """Pearson's statistic of the histogram against the expected frequencies, with K - 1 degrees of freedom."""
    p_value: float
    """Probability of a chi-square at least this large if the images came from the expected frequencies."""


def class_balance(probabilities: Float[np.ndarray, "n k"], frequencies: Float[np.ndarray, " k"]) -> ClassBalance:
    """Compare softmax `probabilities` (n, K) with the expected class `frequencies` (K,), which need not sum to 1.

    Raises `UsageError` for an empty set, and for an expected frequency of zero, for which chi-square has no meaning.
    """
    from scipy.stats import chi2

    n, k = probabilities.shape
    if n == 0:
        raise UsageError("A class histogram needs at least one image.")
    if (frequencies <= 0).any():
        raise UsageError(f"Class {int(frequencies.argmin())} is expected never to occur: drop it from the frequencies.")
    histogram = np.bincount(probabilities.argmax(axis=1), minlength=k)
    expected = n * frequencies / frequencies.sum()
    chi_square = float(((histogram - expected) ** 2 / expected).sum())
    return ClassBalance(
        n=n,
        confidence=float(probabilities.max(axis=1).mean(dtype=np.float64)),
        histogram=tuple(int(count) for count in histogram),
        entropy=entropy(histogram.astype(np.int64)),
        entropy_maximum=float(np.log(k)),
        chi_square=chi_square,
        p_value=float(chi2.sf(chi_square, k - 1)),
    )


def entropy(histogram: Int64[np.ndarray, " k"]) -> float:
    """Return -sum p ln p in nats, with 0 ln 0 = 0."""
    p = histogram[histogram > 0] / histogram.sum()
    return float(max(-(p * np.log(p)).sum(), 0.0))
