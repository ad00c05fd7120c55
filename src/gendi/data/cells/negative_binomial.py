"""The negative binomial and its normal scores, with exact tails.

For a count k with mean mu and dispersion a > 0, that is with variance mu + a mu^2, let r = 1 / a, p = 1 / (1 + a mu)
and q = 1 - p. Then

    P(k)     = Gamma(k + r) / (Gamma(r) k!) p^r q^k
    F(k)     = P(0) + ... + P(k) = I_p(r, k + 1),      1 - F(k) = I_q(k + 1, r)      (regularised incomplete beta)

The randomised probability-integral transform of a count, u = F(k - 1) + v P(k) with v uniform, is uniform, so its
normal score z = Phi^-1(u) is standard normal. The inverse is the quantile k = min{k: F(k) >= Phi(z)}, whatever v was.
[Rueschendorf 2009] The smaller of u and 1 - u is computed in logarithms, so that no score is infinite and no count is
lost, however unlikely it is. Everything is float64; arguments broadcast.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, gammaln, log_ndtr, ndtr, ndtri, ndtri_exp

Array = NDArray[Any] | np.number[Any] | float
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

TINY = 1e-280
"""Smaller values of the incomplete beta function are computed from its continued fraction, in logarithms."""
EDGE = 2.0**-26
"""The uniform v keeps this distance from 0 and 1."""
SMALL = 16
"""Counts up to this one are found by summing probabilities, larger ones by bisection."""
UNCLEAR = 1e-6
"""Upper tails below this are not computed as one minus a sum."""


def _floats(*arguments: Array) -> list[Floats]:
    """Return arrays of float64 of one shape."""
    return [np.asarray(a, np.float64) for a in np.broadcast_arrays(*arguments)]


def log_probability(k: Array, mu: Array, dispersion: Array) -> Floats:
    """Return ln P(k)."""
    k, mu, dispersion = _floats(k, mu, dispersion)
    r, a_mu = 1 / dispersion, dispersion * mu
    with np.errstate(divide="ignore", invalid="ignore"):
        powers = np.where(k > 0, k * (np.log(a_mu) - np.log1p(a_mu)), 0.0)
    return np.asarray(gammaln(k + r) - gammaln(r) - gammaln(k + 1.0) - r * np.log1p(a_mu) + powers)


def log_cdf(k: Array, mu: Array, dispersion: Array) -> Floats:
    """Return ln F(k), which is -inf below k = 0."""
    k, mu, dispersion = _floats(k, mu, dispersion)
    a_mu = dispersion * mu
    out = _log_betainc(1 / dispersion, np.maximum(k, 0) + 1.0, 1 / (1 + a_mu), a_mu / (1 + a_mu))
    return np.asarray(np.where(k < 0, -np.inf, out))


def log_sf(k: Array, mu: Array, dispersion: Array) -> Floats:
    """Return ln(1 - F(k)), which is 0 below k = 0, and -inf where mu = 0."""
    k, mu, dispersion = _floats(k, mu, dispersion)
    a_mu = dispersion * mu
    out = _log_betainc(np.maximum(k, 0) + 1.0, 1 / dispersion, a_mu / (1 + a_mu), 1 / (1 + a_mu))
    return np.asarray(np.where(k < 0, 0.0, out))


def _log_betainc(a: Array, b: Array, x: Array, rest: Array) -> Floats:
    """Return ln I_x(a, b); `rest` is 1 - x."""
    a, b, x, rest = _floats(a, b, x, rest)
    value = np.asarray(betainc(a, b, x))
    with np.errstate(divide="ignore"):
        out = np.asarray(np.log(value))
    far = (value < TINY) & (x > 0)
    if far.any():
        a, b, x, rest = a[far], b[far], x[far], rest[far]
        front = a * np.log(x) + b * np.log(rest) - np.log(a) - betaln(a, b)
        out[far] = front + np.log(_fraction(a, b, x))
    return out


def _fraction(a: Floats, b: Floats, x: Floats) -> Floats:
    """Return the continued fraction of I_x(a, b), by Lentz's method, for x in its lower tail.  [DLMF 8.17.22]"""
    c = np.ones_like(x)
    d = 1 / (1 - (a + b) * x / (a + 1))
    value = d.copy()
    for m in range(1, 10_000):
        before = value.copy()
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            value = value * d * c
        if np.all(np.abs(value - before) <= 1e-15 * np.abs(value)):
            break
    return value


def normal_scores(k: Array, mu: Array, dispersion: Array, v: Array) -> Floats:
    """Return Phi^-1(F(k - 1) + v P(k)), for whole counts k >= 0 and v in [0, 1]."""
    k, mu, dispersion, v = _floats(k, mu, dispersion, v)
    v = np.clip(v, EDGE, 1 - EDGE)
    zero = k == 0
    log_p = -np.log1p(dispersion * mu) / dispersion  # ln P(0)
    u = v * np.exp(log_p)
    out = np.empty(k.shape)
    low = zero & (u < 0.5)
    out[low] = ndtri_exp(np.log(v[low]) + log_p[low])
    high = zero & ~low
    out[high] = -ndtri(-np.expm1(log_p[high]) + (1 - v[high]) * np.exp(log_p[high]))
    some = ~zero
    out[some] = _positive_scores(k[some], mu[some], dispersion[some], v[some])
    return out


def _positive_scores(k: Floats, mu: Floats, dispersion: Floats, v: Floats) -> Floats:
    log_p = log_probability(k, mu, dispersion)
    log_u = np.logaddexp(log_cdf(k - 1, mu, dispersion), np.log(v) + log_p)
    out = np.empty_like(k)
    low = log_u < np.log(0.5)
    out[low] = ndtri_exp(log_u[low])
    high = ~low
    above = log_sf(k[high], mu[high], dispersion[high])
    out[high] = -ndtri_exp(np.minimum(0.0, np.logaddexp(above, np.log1p(-v[high]) + log_p[high])))
    return out


def score_bounds(k: Array, mu: Array, dispersion: Array) -> tuple[Singles, Singles]:
    """Return Phi^-1(F(k - 1)) and Phi^-1(F(k)) in float32, for whole counts k >= 0: the scores lie between them.

    The first is -inf for k = 0. Most counts of cells are 0, or small enough to sum probabilities.
    """
    k, mu, dispersion = (np.asarray(a) for a in np.broadcast_arrays(k, mu, dispersion))
    log_p = -np.log1p(dispersion * mu) / dispersion  # ln P(0)
    lower, upper = np.full(k.shape, -np.inf, np.float32), np.empty(k.shape, np.float32)
    upper[...] = -ndtri(-np.expm1(log_p))
    unlikely = log_p < np.log(0.5)
    upper[unlikely] = ndtri_exp(log_p[unlikely])
    rows = np.flatnonzero(k)
    found = _positive_bounds(*(np.asarray(a.reshape(-1)[rows], np.float64) for a in (k, mu, dispersion, log_p)))
    lower.reshape(-1)[rows], upper.reshape(-1)[rows] = found
    return lower, upper


def _positive_bounds(k: Floats, mu: Floats, dispersion: Floats, log_p: Floats) -> tuple[Floats, Floats]:
    """Return the bounds (m,) of counts above 0, with ln P(0) given."""
    r, a_mu = 1 / dispersion, dispersion * mu
    p, q = np.exp(log_p), a_mu / (1 + a_mu)
    below, up_to = np.zeros(len(k)), p.copy()
    left = np.arange(len(k))
    for j in range(1, SMALL + 1):
        p[left] *= (j - 1 + r[left]) / j * q[left]
        below[left] = up_to[left]
        up_to[left] += p[left]
        left = left[k[left] > j]
        if not len(left):
            break
    unclear = (k > SMALL) | (1 - up_to < UNCLEAR) | (below < TINY)
    lower, upper = ndtri(below), ndtri(np.minimum(up_to, 1.0))
    for bound, v in ((lower, 0), (upper, 1)):
        bound[unclear] = normal_scores(k[unclear], mu[unclear], dispersion[unclear], v)
    return lower, upper


def quantile(z: Array, mu: Array, dispersion: Array) -> NDArray[np.int64]:
    """Return the smallest count k with F(k) >= Phi(z), for finite z."""
    z, mu, dispersion = _floats(z, mu, dispersion)
    out = np.zeros(z.shape, np.int64)
    open_ = _beyond(np.zeros(z.shape), z, mu, dispersion, log_p=-np.log1p(dispersion * mu) / dispersion) & (mu > 0)
    summed = open_ & (np.abs(z) < 4)
    out[summed], left = _by_summing(z[summed], mu[summed], dispersion[summed])
    open_[summed] = left
    if open_.any():
        out[open_] = _by_bisection(z[open_], mu[open_], dispersion[open_])
    return out


def _beyond(k: Floats, z: Floats, mu: Floats, dispersion: Floats, log_p: Floats | None = None) -> NDArray[np.bool_]:
    """Return where F(k) < Phi(z), computed from the smaller tail; `log_p` is ln P(0) if all k are 0."""
    out = np.empty(z.shape, bool)
    for side, rows in ((1, z <= 0), (-1, z > 0)):
        if log_p is not None:
            with np.errstate(divide="ignore"):
                tail = log_p[rows] if side == 1 else np.log(-np.expm1(log_p[rows]))
        else:
            tail = (log_cdf if side == 1 else log_sf)(k[rows], mu[rows], dispersion[rows])
        bound = log_ndtr(side * z[rows])
        out[rows] = tail < bound if side == 1 else tail > bound
    return out


def _by_summing(z: Floats, mu: Floats, dispersion: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the quantiles of z up to `SMALL`, and which are larger, for z with F(0) < Phi(z)."""
    r, a_mu = 1 / dispersion, dispersion * mu
    u, q = ndtr(z), a_mu / (1 + a_mu)
    p = np.exp(-r * np.log1p(a_mu))
    total, k = p.copy(), np.zeros(z.shape, np.int64)
    left = np.ones(z.shape, bool)
    for j in range(SMALL):
        p *= (j + r) / (j + 1) * q
        total += p
        k[left] = j + 1
        left &= total < u
    return k, left


def _by_bisection(z: Floats, mu: Floats, dispersion: Floats) -> NDArray[np.int64]:
    """Return the quantiles of z, for z with F(0) < Phi(z)."""
    low = np.zeros(z.shape)
    high = np.ceil(mu + np.sqrt(mu + dispersion * mu**2)) + 1.0
    growing = _beyond(high, z, mu, dispersion)
    while growing.any():
        low[growing] = high[growing]
        high[growing] *= 2
        growing[growing] = _beyond(high[growing], z[growing], mu[growing], dispersion[growing])
    while (open_ := high - low > 1).any():
        rows = np.flatnonzero(open_)
        middle = np.floor((low[rows] + high[rows]) / 2)
        up = _beyond(middle, z[rows], mu[rows], dispersion[rows])
        low[rows[up]], high[rows[~up]] = middle[up], middle[~up]
    return high.astype(np.int64)
