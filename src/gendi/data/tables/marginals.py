"""The distribution of one column, and the map from its values to normal scores and back.

A marginal is the observed quantile function Q: u in (0, 1) -> value, with straight lines through knots (u_k, x_k). For
n values, it is made as follows:

    a value that occurs several times  gives a flat part over its share of u: two knots, (a, x) and (b, x)
    a value that occurs once           gives a knot at its mid-rank, (rank - 1/2) / n; lines lead to the next knots
    all values of a discrete column    give flat parts, so Q jumps from one value to the next

A value becomes the normal score z = Phi^-1(u) with u uniform over the value's flat part, and a score becomes the value
Q(Phi(z)). With this randomised probability integral transform, z is standard normal however many ties there are.

So atoms, such as many zeros, keep their probability, and a continuous column gets numbers between the observed ones. No
value lies beyond the smallest and the largest observed one, each of which has an excess probability of half a rank.
[Randomised PIT: Ferguson 1967; Rueschendorf 2009]
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtr, ndtri

KNOTS_MOST = 4000
"""A marginal with more knots is thinned: rare ties are then treated like numbers that occur once."""
DISCRETE_MOST, DISCRETE_SHARE = 20, 0.05
"""A column is discrete if it has at most so many different values, or a smaller number than this share of its rows."""
INSIDE = 1e-3
"""No score is drawn from this share at either end of a flat part, so that rounding to float32 keeps its value."""
UNSEEN = 1e-5
"""The smallest u of a value that did not occur in training."""

Values = Float64[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Marginal:
    """The knots (u, x) of a quantile function, rising in u and x; none for an empty column, one for a constant."""

    u: Float64[np.ndarray, " k"]
    x: Float64[np.ndarray, " k"]

    @property
    def varies(self) -> bool:
        """Whether the column has two values or more."""
        return len(self.x) > 1

    @property
    def discrete(self) -> bool:
        """Whether all values have flat parts, so that there is nothing between them."""
        return len(self.x) % 2 == 0 and bool((self.x[::2] == self.x[1::2]).all())

    @property
    def sound(self) -> bool:
        """Whether u and x are finite and rising, and u lies between 0 and 1."""
        u, x = self.u, self.x
        rising = bool((np.diff(u) >= 0).all() and (np.diff(x) >= 0).all())
        return rising and bool(np.isfinite(u).all() and np.isfinite(x).all() and (abs(u - 0.5) <= 0.5).all())

    def scores(self, values: Values, draws: Values) -> Values:
        """Return the normal scores of values; `draws`, uniform in [0, 1), place each of them in its flat part."""
        first, last = np.searchsorted(self.x, values, "left"), np.searchsorted(self.x, values, "right") - 1
        seen = first <= last
        low, high = self.u[np.minimum(first, len(self.u) - 1)], self.u[last]
        inside = low + (high - low) * (INSIDE + (1 - 2 * INSIDE) * draws)
        between = np.clip(np.interp(values, self.x, self.u), UNSEEN, 1 - UNSEEN)
        return np.asarray(ndtri(np.where(seen, inside, between)), np.float64)

    def bounds(self, values: Values) -> tuple[Values, Values]:
        """Return the least and the greatest score of each value: both ends of its flat part, or its score twice."""
        first, last = np.searchsorted(self.x, values, "left"), np.searchsorted(self.x, values, "right") - 1
        between = np.clip(np.interp(values, self.x, self.u), UNSEEN, 1 - UNSEEN)
        ends = self.u[np.minimum(first, len(self.u) - 1)], self.u[last]
        low, high = (ndtri(np.where(first <= last, u, between)) for u in ends)
        return low, high

    def values(self, scores: Values) -> Values:
        """Return the values of normal scores."""
        if not self.varies:
            return np.full(len(scores), self.x[0] if len(self.x) else np.nan)
        u = ndtr(scores)
        right = np.clip(np.searchsorted(self.u, u, "right"), 1, len(self.u) - 1)
        u0, u1, x0, x1 = self.u[right - 1], self.u[right], self.x[right - 1], self.x[right]
        t = np.clip((u - u0) / np.where(u1 > u0, u1 - u0, 1.0), 0.0, 1.0)
        return np.asarray(np.where(t < 1, x0 + t * (x1 - x0), x1), np.float64)


def fit_marginal(values: Values, discrete: bool = False) -> Marginal:
    """Return the marginal of finite values, of which there may be none; see the module's docstring."""
    x, counts = np.unique(values, return_counts=True)
    if len(x) < 2:
        return Marginal(np.full(len(x), 0.5), x)
    b = np.cumsum(counts) / len(values)
    a = np.concatenate([[0.0], b[:-1]])
    if discrete or len(x) <= DISCRETE_MOST or len(x) < DISCRETE_SHARE * len(values):
        return Marginal(np.column_stack([a, b]).ravel(), np.repeat(x, 2))
    tied = counts > max(1, len(values) // KNOTS_MOST)
    u = np.where(tied[:, None], np.column_stack([a, b]), ((a + b) / 2)[:, None])
    keep = np.column_stack([np.ones(len(x), bool), tied])
    if keep.sum() > KNOTS_MOST:
        some = np.zeros(len(x), bool)
        some[np.linspace(0, len(x) - 1, KNOTS_MOST).round().astype(int)] = True
        keep &= (some | tied)[:, None]
    return Marginal(u[keep], np.repeat(x, 2).reshape(-1, 2)[keep])
