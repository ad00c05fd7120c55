"""Profiles of classes by empirical Bayes: a rare class is like a larger one, except where its cells say otherwise.

The mean of a dozen cells is nearly as noisy as a cell. A class therefore borrows from its **relative**: of the classes
with at least `RATIO` times as many cells, the one under which fewest genes have changed. Classes are taken from the
largest one on; those without such a relative keep the distributions of `gendi.data.cells.marginals`.
With S the sum of a gene's counts and L that of the depths of a class's cells, and p the rate of the relative,

    S ~ NB(mean L p exp(o + b), dispersion a + v)      a: that of a cell, divided by the number of cells (roughly);
                                                       v: variance of the relative's ln p;  o: so that rates sum to one
    b = 0 with probability w_0,  ~ N(0, s_k^2) with probability w_k      for a grid of s_k: most genes have not changed

The cells' programmes have a mean by chance too, which moves many genes a little: their mean factors come from a robust
regression of all genes on the loadings, and are taken out of the expected sums, and so of the class's profile.

The weights w come from all genes of the class, by expectation-maximisation with the penalty of Stephens (2017, "False
discovery rates: a new deal") towards no change. Scales s_k below the noise of a class are left out, since changes so
small cannot be told from it. The **estimate** of b is the median of its posterior, which is exactly
0 for a gene that has not changed with a probability of a half or more. [Johnstone and Silverman 2004]

Dispersions borrow from all classes, as linear empirical Bayes has it (credibility): with â the estimate from the cells
of the class, V its variance under a negative binomial, and a_w the dispersion within all classes together,

    a = a_w + t / (t + V) (â - a_w),      t = tau^2 a_w^2,  tau: the spread of â / a_w over genes, beyond that of V
"""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr

from gendi.data.cells.marginals import LEAST, MOST, Marginals, Sums, own_excess, solve, within_classes
from gendi.data.cells.negative_binomial import log_probability

Floats = NDArray[np.float64]

SCALES = np.array([0.1, 0.2, 0.4, 0.8, 1.6, 3.2])
"""Standard deviations s_k of changes of ln p, in their prior; those below the noise of a class are left out."""
PENALTY = 10.0
"""The weight w_0 is estimated as if so many further genes, less one, were known not to have changed."""
ROUNDS, STEPS, NODES = 3, 100, 5
"""Estimates of the offset o and of the mean factors; steps of expectation-maximisation; nodes of Gauss and Hermite."""
HUBER, REWEIGHTED = 1.345, 10
"""Where residuals of genes count less, in standard deviations, and how often they are weighed anew.  [Huber 1964]"""
RATIO = 3
"""A class borrows only from classes with so many times as many cells, whose own noise is small beside its own."""
PRICE = 3.0
"""What a changed gene costs, in nats, where relatives are compared."""
FURTHEST = 12.0
"""Changes of ln p are at most this."""


@dataclass(frozen=True, eq=False)
class Posterior:
    """What is known of ln p in each class, (K + 1, G): rates are those of the relative, times exp(offset + b)."""

    base: Floats
    """ln of the relative's rate, with the offset; of the class itself where it has no relative."""
    changed: Floats
    """The probability that b is not 0."""
    effect: Floats
    """The mean of b, if it is not 0."""
    spread: Floats
    """The standard deviation of b, if it is not 0."""
    noise: Floats
    """The standard deviation of ln p, if b is 0."""

    def draw(self, row: int, rng: np.random.Generator) -> Floats:
        """Return the rates (G,) of a profile that is drawn from the posterior of a row."""
        u, e = rng.random(self.base.shape[1]), rng.standard_normal(self.base.shape[1])
        moved = self.effect[row] + self.spread[row] * e
        return np.asarray(np.exp(self.base[row] + np.where(u < self.changed[row], moved, self.noise[row] * e)))


@dataclass(frozen=True, eq=False)
class Borrowed:
    """The distributions of all classes, what is known of their rates, and from which class each borrows (K,), -1 for
    none."""

    marginals: Marginals
    posterior: Posterior
    relatives: NDArray[np.int64]


def borrow(sums: Sums, programmes: Floats | None = None) -> Borrowed:
    """Return the distributions of classes whose cells have these sums; the last row of `sums` is that of unclassed
    cells.

    `programmes` (G, k) say by which share the mean of each gene grows with each factor that cells have in common.
    """
    plain = solve(sums)
    k = len(plain.rates) - 1
    cells = sums.of_depths[0, :k]
    order = [int(c) for c in np.argsort(-cells, kind="stable") if cells[c] > 0]
    relatives = np.full(k, -1, np.int64)
    rates, dispersions = plain.rates.copy(), plain.dispersions.copy()
    alone = _variance(sums, plain)
    zeros = np.zeros_like(rates)
    found = Posterior(np.log(rates), zeros, zeros.copy(), zeros.copy(), np.sqrt(alone))
    variance = alone.copy()
    within = within_classes(sums, plain.rates)
    for place, c in enumerate(order[1:], 1):
        law = Marginals(rates, np.broadcast_to(within, rates.shape))
        candidates = [r for r in order[:place] if cells[r] >= RATIO * cells[c]]
        if not candidates:
            continue
        r = relatives[c] = _relative(sums, c, candidates, law, variance)
        of = _changes(sums, c, law, r, variance[r], programmes)
        rates[c] = np.exp(of.base + of.estimate)
        dispersions[c] = _dispersions(sums, c, rates[c], plain.rates[c], within)
        spread2 = np.square(of.spread)
        found.base[c], found.changed[c], found.effect[c], found.spread[c] = of.base, of.changed, of.effect, of.spread
        own = 1 / np.maximum(sums.of_depths[1, c] * rates[c], 0.5) + dispersions[c] * _share(sums, c)
        noise2 = variance[r] * own / (variance[r] + own)
        found.noise[c] = np.sqrt(noise2)
        variance[c] = (1 - of.changed) * noise2 + of.changed * (spread2 + (1 - of.changed) * np.square(of.effect))
    kept = (getattr(found, field.name).astype(np.float32).astype(np.float64) for field in fields(found))
    return Borrowed(Marginals(rates, dispersions), Posterior(*kept), relatives)  # as exact as a bundle keeps it


def _share(sums: Sums, c: int) -> float:
    """Return sum L^2 / (sum L)^2 of a class: 1 over the number of cells, if all are equally deep."""
    _, of_l, of_l2 = sums.of_depths[:, c]
    return max(float(of_l2 / max(of_l, 1.0) ** 2), 1e-12)


def _variance(sums: Sums, plain: Marginals) -> Floats:
    """Return the variance of ln p of each class by itself, and of all together, (K + 1, G)."""
    of_k, of_depths = sums.of_k.copy(), sums.of_depths.copy()
    of_k[-1], of_depths[:, -1] = of_k.sum(0), of_depths.sum(1)
    share = of_depths[2] / np.maximum(of_depths[1], 1.0) ** 2
    return np.asarray(1 / np.maximum(of_k, 0.5) + plain.dispersions * share[:, None])


def _relative(sums: Sums, c: int, candidates: list[int], law: Marginals, variance: Floats) -> int:
    """Return the candidate under which fewest genes of class c have changed, by likelihood; a change has a price."""
    s, depth = sums.of_k[c], sums.of_depths[1, c]
    scores = []
    for r in candidates:
        dispersion = law.dispersions[r] * _share(sums, c) + variance[r]
        same = log_probability(s, np.maximum(depth * law.rates[r], 1e-12), dispersion)
        other = log_probability(s, np.maximum(s, 1e-12), dispersion)
        scores.append(float(np.maximum(same, other - PRICE).sum()))
    return candidates[int(np.argmax(scores))]


@dataclass(frozen=True, eq=False)
class Changes:
    """Changes b of a class against its relative: `base` (G,) as in `Posterior`, and the posterior of b."""

    base: Floats
    changed: Floats
    effect: Floats
    spread: Floats
    estimate: Floats
    """The median of b."""
    prior: float
    """The variance of b in its prior."""


def _changes(sums: Sums, c: int, law: Marginals, r: int, variance: Floats, programmes: Floats | None) -> Changes:
    s, depth = sums.of_k[c], float(sums.of_depths[1, c])
    dispersion = law.dispersions[r] * _share(sums, c) + variance
    base, offset, chance, kept = np.log(law.rates[r]), 0.0, np.zeros(len(s)), np.zeros(len(s))
    for _ in range(ROUNDS):
        found = estimate_changes(s, depth * np.exp(base + offset + chance + kept), dispersion)
        offset = float(logsumexp(base)) - float(logsumexp(base + kept + found.estimate))
        if programmes is not None:
            expected = depth * np.exp(base + offset)
            m = _factors(s, expected, dispersion + found.prior, programmes, _share(sums, c))
            by_chance = min(1.0, max(len(m) - 2, 1) * _share(sums, c) / max(float(m @ m), 1e-12))
            chance, kept = programmes @ m * by_chance, programmes @ m * (1 - by_chance)
    return replace(found, base=base + offset + kept)


def _factors(s: Floats, expected: Floats, dispersion: Floats, programmes: Floats, share: float) -> Floats:
    """Return the mean factors (k,) of a class's cells: how far its programmes stand from 0, by chance or not.

    That is the robust regression of ln s / expected on programmes. `dispersion` (G,) has the variance of changes of
    single genes in it, so that a class that differs in most of them tells little of its factors. The prior of the mean
    is N(0, share): that of a mean over independent cells.
    """
    y = np.log((s + 0.5) / (expected + 0.5))
    x = programmes * (expected / (expected + 0.5))[:, None]
    precision = 1 / (expected / np.square(expected + 0.5) + dispersion)
    weights = precision
    mean = np.zeros(x.shape[1])
    for _ in range(REWEIGHTED):
        mean = np.asarray(np.linalg.solve((x.T * weights) @ x + np.eye(len(mean)) / share, (x.T * weights) @ y))
        residual = np.abs(y - x @ mean) * np.sqrt(precision)
        weights = precision * np.minimum(1, HUBER / np.maximum(residual, 1e-12))
    return mean


def estimate_changes(s: Floats, expected: Floats, dispersion: Floats) -> Changes:
    """Return the posterior of b for sums s ~ NB(expected exp(b), dispersion), each (G,), by the module's prior.

    `base` is ln of `expected`.
    """
    expected = np.maximum(expected, 1e-12)
    noise = float(np.median(np.sqrt(1 / np.maximum(expected, 1.0) + dispersion)))
    scales = SCALES[np.minimum(noise, SCALES[-2]) <= SCALES]
    log_likelihood, mean, std = _components(s, expected, dispersion, scales)
    null = log_probability(s, expected, dispersion)
    logs = np.concatenate([null[:, None], log_likelihood], 1)
    of_scales = _weights(logs)
    weights = logs + np.log(of_scales)
    shares = np.exp(weights - logsumexp(weights, axis=1, keepdims=True))
    changed = 1 - shares[:, 0]
    within = shares[:, 1:] / np.maximum(changed, 1e-300)[:, None]
    effect = (within * mean).sum(1)
    spread = np.sqrt(np.maximum((within * (np.square(std) + np.square(mean))).sum(1) - np.square(effect), 0.0))
    prior = float(of_scales[1:] @ np.square(scales))
    return Changes(np.log(expected), changed, effect, spread, _median(shares, mean, std), prior)


def _components(s: Floats, expected: Floats, dispersion: Floats, scales: Floats) -> tuple[Floats, Floats, Floats]:
    """Return ln of the marginal likelihood under each N(0, s_k^2), and mean and standard deviation of b, (G, k) each.

    By Gauss-Hermite quadrature about the mode, which Newton's method finds: the integrand is concave in b.
    """
    s, expected, r = s[:, None], expected[:, None], 1 / dispersion[:, None]
    precision = 1 / np.square(scales)[None]
    b = np.clip(np.log((s + 0.5) / (expected + 0.5)), -FURTHEST, FURTHEST) * np.ones_like(precision)
    for _ in range(40):
        q = 1 / (1 + r / (expected * np.exp(b)))
        step = (s - (s + r) * q - precision * b) / ((s + r) * q * (1 - q) + precision)
        b = np.clip(b + np.clip(step, -1.0, 1.0), -FURTHEST, FURTHEST)
        if np.abs(step).max(initial=0.0) < 1e-8:
            break
    q = 1 / (1 + r / (expected * np.exp(b)))
    width = 1 / np.sqrt((s + r) * q * (1 - q) + precision)
    nodes, masses = np.polynomial.hermite.hermgauss(NODES)
    at = b[..., None] + np.sqrt(2) * width[..., None] * nodes
    with np.errstate(over="ignore"):
        density = log_probability(s[..., None], expected[..., None] * np.exp(at), 1 / r[..., None])
    density = density - at**2 * precision[..., None] / 2 + np.log(precision[..., None] / (2 * np.pi)) / 2
    terms = density + nodes**2 + np.log(masses) + np.log(np.sqrt(2) * width)[..., None]
    total = logsumexp(terms, axis=-1)
    shares = np.exp(terms - total[..., None])
    mean = (shares * at).sum(-1)
    return total, mean, np.sqrt(np.maximum((shares * at**2).sum(-1) - mean**2, 1e-12))


def _weights(logs: Floats) -> Floats:
    """Return the weights (k + 1,) of components with these ln likelihoods (G, k + 1), the null first."""
    likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
    extra = np.r_[PENALTY - 1, np.zeros(logs.shape[1] - 1)]
    w = np.full(logs.shape[1], 1 / logs.shape[1])
    for _ in range(STEPS):
        shares = likelihood * w
        w = (shares / shares.sum(1, keepdims=True)).sum(0) + extra
        w = np.maximum(w / w.sum(), 1e-12)
    return w


def _median(shares: Floats, mean: Floats, std: Floats) -> Floats:
    """Return the median (G,) of mixtures of a point at 0 (the first share) and normals, by bisection."""

    def below(b: Floats) -> Floats:
        return np.asarray((shares[:, 1:] * ndtr((b[:, None] - mean) / std)).sum(1))

    at_zero = below(np.zeros(len(shares)))
    low = np.where(at_zero > 0.5, -2 * FURTHEST, 0.0)
    high = np.where(at_zero > 0.5, 0.0, 2 * FURTHEST)
    still = (at_zero <= 0.5) & (at_zero + shares[:, 0] >= 0.5)
    aim = np.where(at_zero > 0.5, 0.5, 0.5 - shares[:, 0])
    for _ in range(50):
        middle = (low + high) / 2
        up = below(middle) < aim
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    return np.where(still, 0.0, (low + high) / 2)


def _dispersions(sums: Sums, c: int, rates: Floats, own_rates: Floats, within: Floats) -> Floats:
    """Return the dispersions (G,) of a class, between its own estimates and those within all classes."""
    n, of_l, of_l2 = sums.of_depths[:, c]
    if n < 2:
        return within
    mu = rates * of_l / n
    sigma2 = mu + within * mu**2
    own = own_excess(sums, c, own_rates) / np.maximum(rates**2 * of_l2, 1e-300) / within
    v = sigma2 * (sigma2 * (2 + 6 * within) + 1) / np.maximum(n * mu**4 * within**2, 1e-300)
    trust = 1 / np.square(v + 0.1)
    tau2 = float(np.clip((trust * (np.square(own - 1) - v)).sum() / trust.sum(), 0.0, 1.0))
    moved = 1 + tau2 / (tau2 + v) * (own - 1)
    return np.asarray(np.clip(within * np.maximum(moved, 0.1), LEAST, MOST))
