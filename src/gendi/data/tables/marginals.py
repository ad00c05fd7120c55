"""The distribution of one column, and the way from its values to normal scores and back.

A marginal is the observed quantile function Q: u in (0, 1) -> value, a line through knots (u_k, x_k). Of n values,

    a value that occurs several times  is flat over the share of u that is its own: two knots, (a, x) and (b, x)
    one that occurs once               is a knot at its mid-rank, (rank - 1/2) / n; straight lines lead to the next
    all values of a discrete column    are flat, so that Q jumps from one to the next and nothing lies between

To a normal score and back:   z = Phi^-1(u), u uniform over the flat part of the value (the randomised probability
integral transform, for which z is standard normal however many ties there are);   value = Q(Phi(z)).

So atoms, such as many zeros, have their probability, numbers between observed ones occur where the column is
continuous, and nothing lies beyond the least and the largest value that were seen, each of which has an excess of
probability of half a rank.  [Randomised PIT: Ferguson 1967; Rueschendorf 2009]
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.special import ndtr, ndtri

KNOTS_MOST = 4000
"""Beyond so many knots a marginal is thinned: rare ties are then treated like numbers that occur once."""
DISCRETE_MOST, DISCRETE_SHARE = 20, 0.05
"""A column of at most so many different values, or of so few for its rows, is discrete."""
INSIDE = 1e-3
"""Share at either end of a flat part where no score is drawn, so that rounding a score to float32 leaves its value."""
UNSEEN = 1e-5
"""The least u of a value that was not seen in training."""

Values = Float64[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Marginal:
    """Knots of a quantile function, both rising; none for a column without a value, one for a constant."""

    u: Float64[np.ndarray, " k"]
    x: Float64[np.ndarray, " k"]

    @property
    def varies(self) -> bool:
        """Whether there are two values at least."""
        return len(self.x) > 1

    @property
    def sound(self) -> bool:
        """Whether both rise, between 0 and 1 and finite."""
        u, x = self.u, self.x
        rising = bool((np.diff(u) >= 0).all() and (np.diff(x) >= 0).all())
        return rising and bool(np.isfinite(u).all() and np.isfinite(x).all() and (abs(u - 0.5) <= 0.5).all())

    def scores(self, values: Values, draws: Values) -> Values:
        """Return normal scores of values; `draws`, uniform in [0, 1), say where in a flat part each falls."""
        first, last = np.searchsorted(self.x, values, "left"), np.searchsorted(self.x, values, "right") - 1
        seen = first <= last
        low, high = self.u[np.minimum(first, len(self.u) - 1)], self.u[last]
        inside = low + (high - low) * (INSIDE + (1 - 2 * INSIDE) * draws)
        between = np.clip(np.interp(values, self.x, self.u), UNSEEN, 1 - UNSEEN)
        return np.asarray(ndtri(np.where(seen, inside, between)), np.float64)

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
    """Return the marginal of finite values, perhaps none; see the module's docstring."""
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
