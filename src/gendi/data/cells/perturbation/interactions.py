"""What drugs do together beyond what each does alone, shrunk to nothing as far as the combinations do not show it.

In type c, a combination m of drugs d at doses x changes gene g by

    lfc = s a + Phi (u_cg + r_cg)        a = sum over its parts of their own effects lfc_g(c, d, x)
    Phi = sum over pairs of parts of h h',      h = |lfc(c, d, x)| / the largest |lfc| of that drug in the type

- s is one factor for all combinations: effects that saturate have s < 1. Each combination gives a slope of y on a,
  with an error by which genes are clusters, and s is their mean with a variance between combinations [DerSimonian &
  Laird 1986; Hartung & Knapp 2001]. It is shrunk to 1 by the factor 1 - error^2 / (s - 1)^2, or 0 if that is negative.
- u is what all combinations have in common. Its error has a part from controls and from parts that combinations share,
  and a part from the spread between combinations, which is shrunk to that of all genes.
- r is a combination's own, and is known only where the combination was seen. Over types and doses it may be the same
  everywhere, of each type, or of each condition.

Doses enter through Phi, which is 1 at the largest effects of two drugs and where treatments have no doses: an
interaction is gone when one of the drugs does nothing. u and r have mixtures of normal priors as the effects of single
drugs do (`gendi.data.cells.perturbation.mixture`). Of three drugs and more, the r of every pair that was seen is part
of what is expected.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.curves import COMMON, LEAST_SHARE, SIZES
from gendi.data.cells.perturbation.effects import CERTAIN
from gendi.data.cells.perturbation.mixture import Measured, fit_shares, posterior, weights_of
from gendi.data.cells.perturbation.shifts import Shifts
from gendi.data.cells.perturbation.treatment import Treatment

LEAST_COMBINATIONS = 3
"""Fewest combinations from which something is said about others."""
PRECISE = 0.1
"""Added to the variance of y in the weights of s."""
STEADY = 0.03
"""Variance of y below which it counts for s: logarithms of few counts are skewed, and go further down than up."""
PRIOR_GENES = 4.0
"""Degrees of freedom of the spread over all genes in that of each."""

Floats = NDArray[np.float64]


@runtime_checkable
class Alone(Protocol):
    """The effects of single drugs."""

    def mean(self, cell_type: int, drug: int, dose: float) -> Floats:
        """Return the log-fold change (G,)."""

    def error(self, cell_type: int, drug: int, dose: float) -> Floats:
        """Return its standard error (G,)."""

    def height(self, cell_type: int, drug: int, dose: float) -> float:
        """Return h, between 0 and 1."""


@dataclass(frozen=True, eq=False)
class Own:
    """Phi r of one set of drugs at the k doses at which it was given, for all types and genes."""

    doses: Float64[np.ndarray, "k p"]
    """Of the drugs, which are sorted."""
    reach: Float64[np.ndarray, "c k"]
    """Phi."""
    mean: Float32[np.ndarray, "c k g"]
    error: Float32[np.ndarray, "c k g"]

    def at(self, cell_type: int, doses: Sequence[float], reach: float) -> tuple[Floats, Floats]:
        """Return Phi r and its standard error (G,) at any doses, of reach Phi.

        Between the doses that were given, r is their mean with weights Phi^2 / squared distance of log doses.
        """
        far = np.square(np.log(self.doses) - np.log(np.array(doses))).sum(1)
        k = int(np.argmin(far))
        if far[k] < 1e-12:
            return self.mean[cell_type, k].astype(np.float64), self.error[cell_type, k].astype(np.float64)
        own = self.reach[cell_type] / far
        scale = reach / max(float(own @ self.reach[cell_type]), 1e-12)
        return scale * (own @ self.mean[cell_type]), scale * (own @ self.error[cell_type])


@dataclass(frozen=True, eq=False)
class Interactions:
    """A fitted model: s, u of each type, and Phi r of each set of drugs."""

    scale: float
    scale_error: float
    common: Float64[np.ndarray, "c g"]
    common_error: Float64[np.ndarray, "c g"]
    spread: float
    """The standard deviation of r, of a combination that was not seen."""
    own: dict[tuple[int, ...], Own]

    def effect(self, alone: Alone, cell_type: int, treatment: Treatment) -> tuple[Floats, Floats]:
        """Return the log-fold change (G,) of a combination and its variance."""
        mean, variance = self.expected(alone, cell_type, treatment)
        reach = reach_of(alone, cell_type, treatment)
        mean = mean + reach * self.common[cell_type]
        variance = variance + np.square(reach * self.common_error[cell_type])
        own = self.own.get(treatment.members)
        if own is None:
            return mean, variance + (reach * self.spread) ** 2
        more, error = own.at(cell_type, treatment.ordered_doses, reach)
        return mean + more, variance + error**2

    def expected(self, alone: Alone, cell_type: int, treatment: Treatment) -> tuple[Floats, Floats]:
        """Return s a and what its pairs add, (G,), with the variance: all but u and the own part."""
        a = sum_of(alone, cell_type, treatment)
        parts = [np.square(alone.error(cell_type, d, x)) for d, x in treatment.parts]
        mean, variance = self.scale * a, self.scale**2 * np.sum(parts, axis=0) + np.square(a * self.scale_error)
        for pair in treatment.pairs():
            if pair.members in self.own:
                reach = reach_of(alone, cell_type, pair)
                more, error = self.own[pair.members].at(cell_type, pair.ordered_doses, reach)
                mean, variance = mean + more, variance + error**2
        return mean, variance


def sum_of(alone: Alone, cell_type: int, treatment: Treatment) -> Floats:
    """Return a, (G,)."""
    return np.asarray(np.sum([alone.mean(cell_type, d, x) for d, x in treatment.parts], axis=0))


def reach_of(alone: Alone, cell_type: int, treatment: Treatment) -> float:
    """Return Phi."""
    h = np.array([alone.height(cell_type, d, x) for d, x in treatment.parts])
    return float((h.sum() ** 2 - (h**2).sum()) / 2)


def fit_interactions(
    shifts: Shifts, given: Sequence[Treatment], alone: Alone, noise: float, types: int
) -> Interactions:
    """Learn from the conditions of combinations.

    Args:
        shifts: the conditions (m,).
        given: what was done in each of them.
        alone: the effects of single drugs.
        noise: the factor of all variances of errors.
        types: number of types.
    """
    sets = [treatment.members for treatment in given]
    a = np.stack([sum_of(alone, int(c), treatment) for c, treatment in zip(shifts.types, given, strict=True)])
    weights = (shifts.variance < STEADY) / (shifts.variance + shifts.control_variance + PRECISE)
    scale, scale_error = scale_of(sets, shifts.y, a, weights)
    rows = Rows(shifts, given, alone, noise, scale)
    common, common_error = _common(rows, shifts.y - scale * a, sets, types)
    own: dict[tuple[int, ...], Own] = {}
    spread = 0.0
    for size in sorted({len(members) for members in sets}):
        known = Interactions(scale, scale_error, common, common_error, spread, dict(own))
        parts = {
            members: _conditions(rows, [i for i, each in enumerate(sets) if each == members], known, types)
            for members in sorted({members for members in sets if len(members) == size})
        }
        evidence = {k: np.concatenate([np.zeros((1, len(p.measured.y))), *p.evidence()]) for k, p in parts.items()}
        sure = {k: e[:, parts[k].sure] for k, e in evidence.items()}
        together = np.concatenate(list(sure.values()), axis=1)
        pooled = fit_shares(together, np.full(len(together), 1 / len(together)))
        for members, part in parts.items():
            own[members] = part.own(evidence[members], fit_shares(sure[members], COMMON * pooled))
        spread = spread or float(np.sqrt(pooled[1:] @ np.tile(np.square(SIZES), (len(pooled) - 1) // len(SIZES))))
    return Interactions(scale, scale_error, common, common_error, spread, own)


def scale_of(sets: Sequence[tuple[int, ...]], y: Floats, a: Floats, weights: Floats) -> tuple[float, float]:
    """Return s and its standard error, from y, a and weights, each (m, G); 1 and 0 for too few combinations."""
    slopes, variances = [], []
    for members in sorted(set(sets)):
        rows = [i for i, each in enumerate(sets) if each == members]
        size = float((weights[rows] * a[rows] ** 2).sum())
        if size < 1e-9:
            continue
        slopes.append(float((weights[rows] * a[rows] * y[rows]).sum()) / size)
        score = (weights[rows] * a[rows] * (y[rows] - slopes[-1] * a[rows])).sum(0)
        variances.append(max(float(np.square(score).sum()) / size**2, 1e-12))
    k, b, v = len(slopes), np.array(slopes), np.array(variances)
    if k < LEAST_COMBINATIONS:
        return 1.0, 0.0
    w = 1 / v
    q = float((w * np.square(b - w @ b / w.sum())).sum())
    between = max(0.0, (q - (k - 1)) / float(w.sum() - (w**2).sum() / w.sum()))
    w = 1 / (v + between)
    mean = float(w @ b / w.sum())
    variance = max(1.0, float((w * np.square(b - mean)).sum()) / (k - 1)) / float(w.sum())
    kept = max(0.0, 1 - variance / max((mean - 1) ** 2, 1e-12))
    return 1 + kept * (mean - 1), float(np.sqrt(variance))


@dataclass(frozen=True, eq=False)
class Rows:
    """The conditions of combinations, and the errors that they share."""

    shifts: Shifts
    given: Sequence[Treatment]
    alone: Alone
    noise: float
    scale: float

    def shared(self, rows: Sequence[int]) -> Iterator[Floats]:
        """Yield factors z (len(rows), G) of some conditions: errors of their controls, and of single drugs."""
        types = self.shifts.types[list(rows)]
        for c in np.unique(types):
            own = (types == c)[:, None]
            yield own * np.sqrt(self.noise * self.shifts.control_variance[list(rows)])
            for d in sorted({d for i in rows for d in self.given[i].drugs}):
                yield own * np.stack([self._error(int(c), self.given[i], d) for i in rows])

    def _error(self, cell_type: int, treatment: Treatment, drug: int) -> Floats:
        doses = dict(treatment.parts)
        if drug not in doses:
            return np.zeros(self.shifts.y.shape[1])
        return self.scale * self.alone.error(cell_type, drug, doses[drug])


def _common(rows: Rows, left: Floats, sets: Sequence[tuple[int, ...]], types: int) -> tuple[Floats, Floats]:
    """Return u and its standard error, each (T, G), from y - s a of the conditions (m, G)."""
    genes = left.shape[1]
    found: list[tuple[int, Floats, Floats]] = []
    for c in np.unique(rows.shifts.types).tolist():
        own = [i for i, each in enumerate(rows.shifts.types.tolist()) if each == c]
        reach = np.array([reach_of(rows.alone, c, rows.given[i]) for i in own])
        names = sorted({sets[i] for i in own})
        if len(names) < LEAST_COMBINATIONS:
            continue
        weights = np.array([[reach[j] * (sets[i] == name) for j, i in enumerate(own)] for name in names])
        weights /= np.maximum((weights * reach).sum(1, keepdims=True), 1e-12)
        each = weights @ left[own]
        spread, free = each.var(0, ddof=1), len(names) - 1
        spread = (PRIOR_GENES * spread.mean() + free * spread) / (PRIOR_GENES + free)
        together = sum(np.square(weights.mean(0) @ z) for z in rows.shared(own))
        found.append((c, each.mean(0), spread / len(names) + together))
    if not found:
        return np.zeros((types, genes)), np.zeros((types, genes))
    noise = np.stack([variance for _, _, variance in found], axis=1)[:, :, None] * np.eye(len(found))
    seen = np.array([c for c, _, _ in found], np.int64)
    measured = Measured(np.stack([mean for _, mean, _ in found], axis=1), noise, seen)
    roots = [np.ones((types, 1)), np.eye(types)][: min(types, 2)]
    part = Conditions(measured, roots, noise.max((1, 2)) < CERTAIN, np.ones((1, 0)), np.ones((types, 1)))
    evidence = np.concatenate([np.zeros((1, genes)), *part.evidence()])
    shrunk = part.own(evidence, fit_shares(evidence[:, part.sure], np.full(len(evidence), 1 / len(evidence))))
    return shrunk.mean[:, 0].astype(np.float64), shrunk.error[:, 0].astype(np.float64)


@dataclass(frozen=True, eq=False)
class Conditions:
    """What was measured under one set of drugs, with roots of the covariances of what it may be; see `Own`."""

    measured: Measured
    roots: list[Floats]
    sure: NDArray[np.bool_]
    """Genes with small errors."""
    doses: Floats
    reach: Floats

    def evidence(self) -> list[Floats]:
        """Return the evidence of every covariance and size, (K, G) each."""
        return [self.measured.evidence(root, SIZES) for root in self.roots]

    def own(self, evidence: Floats, shares: Floats) -> Own:
        """Return the posterior for the evidence and the shares of no effect and of every covariance and size."""
        shares = np.where(shares > LEAST_SHARE, shares, 0.0)
        used = [t**2 * root @ root.T for root in self.roots for t in SIZES]
        weights = weights_of(evidence, shares / shares.sum())[1:]
        mean, error = posterior(self.measured, self.reach.size, used, weights)
        shape = (*self.reach.shape, -1)
        return Own(
            self.doses,
            self.reach,
            mean.T.reshape(shape).astype(np.float32),
            error.T.reshape(shape).astype(np.float32),
        )


def _conditions(rows: Rows, own: Sequence[int], known: Interactions, types: int) -> Conditions:
    """Return what was measured in the conditions `own` of one set of drugs, less what is known of them."""
    doses = np.array(sorted({rows.given[i].ordered_doses for i in own}))
    members = rows.given[own[0]].members
    at = [Treatment(members, tuple(row)) for row in doses.tolist()]
    reach = np.array([[reach_of(rows.alone, c, treatment) for treatment in at] for c in range(types)])
    number = {treatment.doses: k for k, treatment in enumerate(at)}
    kind = rows.shifts.types[list(own)]
    place = np.array([number[rows.given[i].ordered_doses] for i in own], np.int64)
    seen = kind * len(at) + place
    left, factors = [], list(rows.shared(own))
    for c in np.unique(kind):
        factors.append((kind == c)[:, None] * reach[kind, place][:, None] * known.common_error[int(c)])
    independent = rows.noise * rows.shifts.variance[list(own)]
    for j, (i, c) in enumerate(zip(own, kind.tolist(), strict=True)):
        mean, _ = known.expected(rows.alone, c, rows.given[i])
        left.append(rows.shifts.y[i] - mean - reach[c, place[j]] * known.common[c])
    noise = sum(np.einsum("ig,jg->gij", z, z) for z in factors)
    noise = noise + independent.T[:, :, None] * np.eye(len(own))
    flat = reach.reshape(-1)
    of_type = np.repeat(np.eye(types), len(at), axis=0)
    roots = [flat[:, None], *([flat[:, None] * of_type] if types > 1 else [])]
    if len(at) > 1:
        roots.append(np.diag(flat))
    small = np.asarray((rows.shifts.variance[list(own)] < CERTAIN).any(0))
    return Conditions(Measured(np.stack(left, axis=1), noise, seen), roots, small, doses, reach)
