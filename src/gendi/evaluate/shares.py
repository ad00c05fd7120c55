"""Are the classes that a classifier sees in samples as frequent as those that it sees in real pictures?

A classifier makes mistakes, and so it sees other shares of the classes than there are. What it sees in pictures that it
did not learn from tells which: if a share C_cj of the real pictures of class c is seen as class j, and class c should
be a share f_c of the samples, then class j should be seen in a share

    q_j = sum over c of f_c C_cj

of them. C_c is known from m_c real pictures only. So the difference d of the shares seen in n samples and of q has the
covariance

    V = (diag q - q q') / n  +  sum over c of f_c^2 (diag C_c - C_c C_c') / m_c.

The statistic T = sum over j of d_j^2 / q_j has the mean tr M and the variance 2 tr M^2, with M = D^-1/2 V D^-1/2 and
D = diag q, and its tail is taken to be that of a multiple of a chi-square with the same mean and variance
[Satterthwaite 1946; Rao and Scott 1981]. Chi-square is T in the unit in which real pictures have the mean K - 1. For a
classifier that is always right, C is the unit matrix, the second part of V is 0, and all of this is Pearson's test.

A class of which few real pictures are there seems to be seen always alike. So V and D are computed from rows C_c to
which `PRIOR` further pictures were added that are seen as the classifier sees pictures on the whole.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from jaxtyping import Float, Float64, Int64

from gendi.errors import UsageError

PRIOR = 4.0
ABSENT = 0.1
"""The part of the pictures whose absence must be noticed."""


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
    rows: Float64[np.ndarray, "g k"]
    """C, with the further pictures."""
    pictures: Float64[np.ndarray, " g"]
    """m; infinite where C is known."""

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
        return cls(f, f, np.eye(len(f)), np.full(len(f), np.inf))

    @classmethod
    def measured(cls, counts: Int64[np.ndarray, "g k"], frequencies: Float[np.ndarray, " g"]) -> Self:
        """Return what a classifier sees by what it saw in real pictures.

        Args:
            counts: how many real pictures of group c were seen as class j. If there are as many groups as classes,
                they are the classes; a class without any is taken to be seen as the others are.
            frequencies: how frequent the groups should be; they need not sum to 1.
        """
        (groups, k), f = counts.shape, np.asarray(frequencies / frequencies.sum(), np.float64)
        m = counts.sum(axis=1).astype(np.float64)
        if groups == k and k > 1:
            right = (np.trace(counts) + 1) / (m.sum() + 2)
            usual = right * np.eye(k) + (1 - right) * f
        else:
            usual = np.broadcast_to((counts.sum(axis=0) + 1 / k) / (m.sum() + 1), counts.shape)
        rows = (counts + PRIOR * usual) / (m + PRIOR)[:, None]
        plain = np.where(m[:, None] > 0, counts / np.maximum(m, 1)[:, None], usual)
        return cls(f, f @ plain, rows, np.maximum(m, 1))

    def test(self, histogram: Int64[np.ndarray, " k"]) -> ShareTest:
        """Return the test of a histogram of the classes seen in samples, for which the shares are f if all is well."""
        n = int(histogram.sum())
        return self._test(histogram / n - self.expected, 0.0, n)

    def without(self, n: int, absent: float = ABSENT) -> ShareTest:
        """Return the test, on average, of n real pictures in which the most frequent groups are missing that make up
        the part `absent` of the data.

        One group is always missing, and one always there. If there is only one, nothing is missing.
        """
        order = np.argsort(-self.shares, kind="stable")
        missing = 1 + int(np.searchsorted(np.cumsum(self.shares[order]), absent - 1e-9))
        left = self.shares.copy()
        left[order[: min(missing, len(order) - 1)]] = 0
        shift = left / left.sum() @ self.rows - self.shares @ self.rows
        return self._test(shift, float(np.trace(self._relative(n))), n)

    def largest_chi_square(self, n: int, level: float) -> float:
        """Return the chi-square that n samples with the right shares exceed with probability `level`."""
        from scipy.stats import chi2

        scale, freedom, unit = self._tail(n)
        return float(chi2.isf(level, freedom)) * scale * unit

    def p_value(self, chi_square: float, n: int) -> float:
        """Return the probability of a chi-square of n samples that is as large or larger."""
        from scipy.stats import chi2

        scale, freedom, unit = self._tail(n)
        return float(chi2.sf(chi_square / (scale * unit), freedom))

    def entropy(self, n: int) -> tuple[float, float]:
        """Return the entropy in nats that the classes seen in n samples have on average, if their shares are right, and
        its standard error, which comes from that of q.

        An entropy of noisy shares is too small by half of the trace of M [Miller 1955]; so is that of q.
        """
        q = self.expected[self.expected > 0]
        relative, root = self._relative(None), np.sqrt(self.shares @ self.rows)
        slope = 2 * root * np.log(root)  # of -q log q, times -sqrt q; constants do not count, as shares sum to 1
        error = float(np.sqrt(max(slope @ relative @ slope, 0.0)))
        bias = (float(np.trace(relative)) - (len(self.expected) - 1) / n) / 2
        return float(-(q * np.log(q)).sum()) + bias, error

    def _test(self, d: Float64[np.ndarray, " k"], more: float, n: int) -> ShareTest:
        _, _, unit = self._tail(n)
        chi_square = (float((d * d / (self.shares @ self.rows)).sum()) + more) * unit
        return ShareTest(chi_square, self.p_value(chi_square, n))

    def _tail(self, n: int) -> tuple[float, float, float]:
        """Return (s, v, u): T is about s times a chi-square of v degrees of freedom, and u T is `chi_square`."""
        m = self._relative(n)
        trace, squares = float(np.trace(m)), float((m * m).sum())
        return squares / trace, trace * trace / squares, (len(m) - 1) / trace

    def _relative(self, n: int | None) -> Float64[np.ndarray, "k k"]:
        """Return M; without n its second part alone, of the errors of q."""
        q, w = self.shares @ self.rows, self.shares**2 / self.pictures
        v = np.diag(w @ self.rows) - (self.rows.T * w) @ self.rows
        if n is not None:
            v = v + (np.diag(q) - np.outer(q, q)) / n
        return np.asarray(v / np.sqrt(np.outer(q, q)))
