"""How alike types respond to drugs: the correlation of their effects, learned from all drugs, doses and genes.

For types c and e, over the conditions of drug and dose that both had, and over genes,

    own_ce = sum y_c y_e / sqrt(sum (y_c^2 - v_c) sum (y_e^2 - v_e))       v: the variance of y's error

and `common` is the same ratio for all pairs of types together. With n drugs that both types had, the estimate is

    K_ce = (n own_ce + TRUST common) / (n + TRUST)

so few drugs say only how alike types are on average. Eigenvalues are raised to `FLOOR`, so that K is a correlation.
"""

from collections import defaultdict

import numpy as np
from jaxtyping import Float64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.effects import CERTAIN
from gendi.data.cells.perturbation.shifts import Shifts

TRUST = 12.0
FLOOR = 0.01
MOST = 0.98


def kinship_of(shifts: Shifts, types: int, noise: float) -> Float64[np.ndarray, "c c"]:
    """Return K (T, T); `noise` is the factor of all variances of errors."""
    error = noise * (shifts.variance + shifts.control_variance)
    sure = error < CERTAIN
    products, norms = np.zeros((2, types, types))
    drugs: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for d, x in sorted(set(zip(shifts.drugs.tolist(), shifts.doses.tolist(), strict=True))):
        rows = np.flatnonzero((shifts.drugs == d) & (shifts.doses == x))
        used = sure[rows].all(0)
        y, own = shifts.y[rows][:, used], shifts.types[rows]
        size = np.sqrt(np.maximum((y**2 - error[rows][:, used]).sum(1), 0))
        at = np.ix_(own, own)
        products[at] += y @ y.T
        norms[at] += np.outer(size, size)
        for c in own.tolist():
            for e in own.tolist():
                drugs[c, e].add(d)
    off = ~np.eye(types, dtype=bool)
    common = float(np.clip(products[off].sum() / max(norms[off].sum(), 1e-12), 0, MOST))
    shared = np.array([[len(drugs[c, e]) for e in range(types)] for c in range(types)], np.float64)
    own_pair = np.clip(products / np.maximum(norms, 1e-12), 0, MOST)
    k = np.where(norms > 0, (shared * own_pair + TRUST * common) / (shared + TRUST), common)
    np.fill_diagonal(k, 1.0)
    values, vectors = np.linalg.eigh(k)
    k = (vectors * np.maximum(values, FLOOR)) @ vectors.T
    scale = np.sqrt(np.diag(k))
    return np.asarray(k / np.outer(scale, scale))


def shares_of_others(k: Float64[np.ndarray, "c c"], known: NDArray[np.int64], c: int) -> NDArray[np.float64]:
    """Return the weights, of sum 1, of the known types in the prediction of type c."""
    w = np.linalg.solve(k[np.ix_(known, known)], k[known, c])
    total = float(w.sum())
    return w / total if total > 1e-6 else np.full(len(known), 1 / len(known))
