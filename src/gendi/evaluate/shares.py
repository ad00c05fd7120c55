"""Are the classes that a classifier sees in samples as frequent as those that it sees in real pictures?

A classifier makes mistakes, and so it sees shares of the classes that differ from the true ones. What it sees in
pictures that it did not learn from shows how they differ: if a share C_cj of the real pictures of class c is seen as
class j, and class c should be a share f_c of the samples, then class j should be seen in a share

    q_j = sum over c of f_c C_cj

of them. C is known from a few real pictures only: k_cj of the m_c pictures of class c were seen as class j. If the
samples' shares are right, one C explains these counts and the h_j of n samples that were seen as class j. So the test
is that of the likelihood ratio, twice the logarithm of

    max over C and q of  prod q_j^h_j  prod C_cj^k_cj   /   the same with q = f C,

whose denominator is found by expectation and maximisation: the class of a sample seen as j is c with the probability
f_c C_cj / q_j (`fitted`). For many pictures this has a chi-square distribution of K - 1 degrees of freedom where the
shares are right [Wilks 1938]. For few ones its mean is another. That mean is estimated from pictures and samples drawn
from the fitted C, and the statistic is scaled to K - 1  [Bartlett 1937; by bootstrap: Rocke 1989].

A class with few real pictures seems to be seen always in the same way. So `FURTHER` pictures are added to each class,
and these are seen as the classifier sees pictures on the whole. For a classifier that is always right there is nothing
to fit, and the test is Pearson's.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float, Float64, Int64, Num

from gendi.diffusion.randomness import stream
from gendi.errors import UsageError

FURTHER = 0.5
PRIOR = 4.0
"""Further pictures of each class where the error of C is computed, for the error of the entropy."""
ABSENT = 0.1
"""The part of the pictures whose absence must be noticed."""
ROUNDS = 40
"""Rounds of expectation and maximisation. More of them change a statistic and its mean alike."""
TERMS, FEWEST_DRAWS, AT_ONCE = 8000, 16, 2**21
"""The mean of the statistic is known to a part sqrt(2 / (draws (K - 1))), of which TERMS makes 1.6%, a ninth of its
deviation at most for 100 classes; how many draws there are at least; and the most numbers that some draws have in
memory at once."""


class ShareTest(NamedTuple):
    """Chi-square, and the probability of one as large or larger where the shares are right."""

    chi_square: float
    p_value: float


@dataclass(frozen=True)
class SeenShares:
    """What a classifier of K classes should see in pictures of which a share f_c belongs to group c, of G groups.

    The groups are the true classes; where these are not known, there is one group of all.
    """

    shares: Float64[np.ndarray, " g"]
    """f, which sums to 1."""
    expected: Float64[np.ndarray, " k"]
    """q, unbiased."""
    usual: Float64[np.ndarray, "g k"]
    """How pictures of each group are seen, by what is seen on the whole."""
    counts: Int64[np.ndarray, "g k"] | None
    """How many pictures of group c were seen as class j; None if C is known, and then it is `usual`."""

    @classmethod
    def known(cls, frequencies: Float[np.ndarray, " k"]) -> Self:
        """Return what a classifier sees that is always right. `frequencies` need not sum to 1.

        Raises `UsageError` for a frequency of zero, for which chi-square has no meaning.
        """
        if (frequencies <= 0).any():
            raise UsageError(
                f"Class {int(frequencies.argmin())} is expected never to occur: drop it from the frequencies."
            )
        f = np.asarray(frequencies / frequencies.sum(), np.float64)
        return cls(f, f, np.eye(len(f)), None)

    @classmethod
    def measured(cls, counts: Int64[np.ndarray, "g k"], frequencies: Float[np.ndarray, " g"]) -> Self:
        """Return what a classifier sees by what it saw in real pictures.

        Args:
            counts: how many real pictures of group c were seen as class j. If there are as many groups as classes,
                they are the classes; a class without any is taken to be seen as the others are.
            frequencies: how frequent the groups should be; they need not sum to 1.
        """
        f = np.asarray(frequencies / frequencies.sum(), np.float64)
        m, usual = counts.sum(axis=1, keepdims=True), usually(counts, f)
        return cls(f, f @ np.where(m > 0, counts / np.maximum(m, 1), usual), usual, counts)

    def test(self, histogram: Int64[np.ndarray, " k"]) -> ShareTest:
        """Return the test of a histogram of the classes seen in samples, for which the shares are f if all is well."""
        return self._test(histogram.astype(np.float64), 0.0)

    def without(self, n: int, absent: float = ABSENT) -> ShareTest:
        """Return the test, on average, of n real pictures in which the most frequent groups are missing that make up
        the part `absent` of the data.

        One group is always missing, and one always there. If there is only one, nothing is missing.
        """
        order = np.argsort(-self.shares, kind="stable")
        missing = 1 + int(np.searchsorted(np.cumsum(self.shares[order]), absent - 1e-9))
        left = self.shares.copy()
        left[order[: min(missing, len(order) - 1)]] = 0
        return self._test(n * (left / left.sum()) @ self._rows(FURTHER), len(self.expected) - 1.0)

    def p_value(self, chi_square: float) -> float:
        """Return the probability of a chi-square that is as large or larger."""
        from scipy.stats import chi2

        return float(chi2.sf(chi_square, len(self.expected) - 1))

    def largest_chi_square(self, level: float) -> float:
        """Return the chi-square that samples with the right shares exceed with probability `level`."""
        from scipy.stats import chi2

        return float(chi2.isf(level, len(self.expected) - 1))

    def entropy(self, n: int) -> tuple[float, float]:
        """Return the entropy in nats that the classes seen in n samples have on average, if their shares are right, and
        its standard error, which comes from that of q.

        The difference of the shares seen and of q has the covariance (diag q - q q') / n + sum over c of
        f_c^2 (diag C_c - C_c C_c') / m_c. An entropy of noisy shares is too small by half of the trace of that, with
        each entry divided by the root of the q of its row and of its column [Miller 1955]; so is that of q.
        """
        q, entropy = self.expected[self.expected > 0], 0.0
        entropy, bias = float(-(q * np.log(q)).sum()), -(len(self.expected) - 1) / (2 * n)
        if self.counts is None:
            return entropy + bias, 0.0
        rows = self._rows(PRIOR)
        seen, w = self.shares @ rows, self.shares**2 / np.maximum(self.counts.sum(axis=1), 1)
        relative = (np.diag(w @ rows) - (rows.T * w) @ rows) / np.sqrt(np.outer(seen, seen))
        slope = np.sqrt(seen) * np.log(seen)  # of -q log q, times -sqrt q; constants do not count, as shares sum to 1
        return entropy + bias + float(np.trace(relative)) / 2, float(np.sqrt(max(slope @ relative @ slope, 0.0)))

    def _rows(self, further: float) -> Float64[np.ndarray, "g k"]:
        """Return C, with `further` pictures of each group that are seen as usual."""
        if self.counts is None:
            return self.usual
        return np.asarray((self.counts + further * self.usual) / (self.counts.sum(axis=1, keepdims=True) + further))

    def _test(self, h: Float64[np.ndarray, " k"], more: float) -> ShareTest:
        """Return the test of a histogram, with `more` added to its chi-square."""
        n = h.sum()
        if self.counts is None:
            chi_square = float(((h - n * self.expected) ** 2 / (n * self.expected)).sum()) + more
            return ShareTest(chi_square, self.p_value(chi_square))
        found, c = likelihood_ratio(self.counts[None], h[None], self.shares)
        chi_square = float(found[0]) * (len(h) - 1) / self._mean(c[0], round(n)) + more
        return ShareTest(chi_square, self.p_value(chi_square))

    def _mean(self, c: Float64[np.ndarray, "g k"], n: int) -> float:
        """Return the mean of the likelihood ratio where C is `c`, of draws of the pictures and of n samples."""
        assert self.counts is not None
        groups, k = c.shape
        draws, found, m = max(FEWEST_DRAWS, math.ceil(TERMS / max(k - 1, 1))), [], self.counts.sum(axis=1)
        each = max(1, AT_ONCE // (groups * k))
        for first in range(0, draws, each):
            rng, size = stream(0, "class shares", first), min(each, draws - first)
            pictures = np.stack([rng.multinomial(m_c, row, size) for m_c, row in zip(m, c, strict=True)], axis=1)
            samples = rng.multinomial(n, self.shares @ c, size)
            found.append(likelihood_ratio(pictures, samples, self.shares)[0])
        return max(float(np.concatenate(found).mean()), 1e-12)


def usually(counts: Int64[np.ndarray, "*b g k"], f: Float64[np.ndarray, " g"]) -> Float64[np.ndarray, "*b g k"]:
    """Return how pictures of each group are seen by what is seen on the whole.

    If the groups are the classes, all of them are seen rightly equally often, and mistaken for a class by its share.
    """
    groups, k = counts.shape[-2:]
    total = counts.sum(axis=(-1, -2), keepdims=True)
    if groups == k and k > 1:
        right = (np.trace(counts, axis1=-2, axis2=-1)[..., None, None] + 1) / (total + 2)
        return np.asarray(right * np.eye(k) + (1 - right) * f)
    return np.asarray(np.broadcast_to((counts.sum(axis=-2, keepdims=True) + 1 / k) / (total + 1), counts.shape))


def likelihood_ratio(
    counts: Int64[np.ndarray, "b g k"], seen: Num[np.ndarray, "b k"], f: Float64[np.ndarray, " g"]
) -> tuple[Float64[np.ndarray, " b"], Float64[np.ndarray, "b g k"]]:
    """Return twice the logarithm of the likelihood ratio, and the C that explains pictures and samples together.

    Args:
        counts: B times, how many pictures of group c were seen as class j.
        seen: B times, how many samples were seen as each class.
        f: the shares of the groups.
    """
    pictures = counts + FURTHER * usually(counts, f)
    free = pictures / pictures.sum(axis=-1, keepdims=True)
    c = fitted(pictures, seen, f)
    of_samples = _terms(seen, seen / (seen.sum(axis=-1, keepdims=True) * (f @ c)))
    return 2 * (of_samples.sum(axis=-1) + _terms(pictures, free / c).sum(axis=(-1, -2))), c


def fitted(
    pictures: Float64[np.ndarray, "b g k"], seen: Num[np.ndarray, "b k"], f: Float64[np.ndarray, " g"]
) -> Float64[np.ndarray, "b g k"]:
    """Return the most likely C, given pictures of known groups and samples of groups with the shares f."""
    c = pictures / pictures.sum(axis=-1, keepdims=True)
    for _ in range(ROUNDS):
        q = f @ c
        c = pictures + f[:, None] * c * (seen / q)[:, None, :]
        c /= c.sum(axis=-1, keepdims=True)
    return np.asarray(c)


def _terms(counts: Num[np.ndarray, "..."], ratio: Float64[np.ndarray, "..."]) -> Float64[np.ndarray, "..."]:
    """Return counts log ratio, which is 0 for a count of 0."""
    return np.asarray(counts * np.log(np.where(counts > 0, ratio, 1.0)))
