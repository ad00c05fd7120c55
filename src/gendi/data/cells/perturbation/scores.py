"""Scores of predicted cells, between those of unchanged cells (the null) and those of truly treated ones (the oracle).

    pearson            correlation of the predicted and the true log-fold changes, over all genes
    pearson changed    the same over the genes that change
    slope error        |slope - 1| of the line through the origin, predicted on true log-fold changes of these genes
    energy             energy distance of log-normalised cells to true ones, in principal components of real cells
    centroid rank      share of the type's other conditions whose true centroid is nearer than the right one

A score is scaled as

    scaled = (value - null) / (oracle - null)

so that 0 is no better than no change, and 1 as good as a fresh draw from the truth; values below 0 and above 1 occur.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import NDArray

from gendi.data.cells.normalise import log_normalise
from gendi.errors import DataError
from gendi.evaluate.vectors.distances import energy_distance

SCORES = ("pearson", "pearson changed", "slope error", "energy", "centroid rank")
CHANGED = 0.1
"""Absolute log-fold change above which a gene counts as changed."""
COMPONENTS = 20
PSEUDO = 0.05
"""Mean count that is added before the logarithm of a mean is taken."""


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of log-normalised expression: their centre (G,) and axes (G, k)."""

    mean: Float64[np.ndarray, " g"]
    vectors: Float64[np.ndarray, "g k"]

    def of(self, cells: NDArray[np.int64]) -> Float64[np.ndarray, "n k"]:
        """Return cells (n, G) of counts on these axes (n, k)."""
        return np.asarray((log_normalise(cells) - self.mean) @ self.vectors)


@dataclass(frozen=True, eq=False)
class Target:
    """The truth about a condition, with which predicted cells are compared."""

    control: NDArray[np.int64]
    """Counts (n, G) of control cells."""
    treated: NDArray[np.int64]
    """Counts (m, G) of truly treated cells."""
    lfc: Float64[np.ndarray, " g"]
    """The true log-fold change (G,)."""
    centroids: Float64[np.ndarray, "k g"]
    """The centroids of all conditions of the type, in log-normalised expression (k, G)."""
    own: int
    """The index of this condition among them."""

    components: Components | None = None
    """Principal components for the energy distance; None takes those of `control` and `treated`.

    Cells are nearer to the cells from which components were computed than to new ones. Where some predictions are made
    of these very cells (moved controls) and others are not (cells drawn afresh), only components of other cells are
    fair.
    """

    @cached_property
    def axes(self) -> Components:
        """The principal components in use."""
        return self.components or components_of(np.concatenate([self.control, self.treated]))

    @cached_property
    def projected(self) -> Float64[np.ndarray, "m k"]:
        """The treated cells on these axes (m, k)."""
        return self.axes.of(self.treated)


def components_of(cells: NDArray[np.int64]) -> Components:
    """Return the first `COMPONENTS` principal components of log-normalised cells (n, G)."""
    real = log_normalise(cells)
    mean = real.mean(0)
    _, _, rows = np.linalg.svd(real - mean, full_matrices=False)
    return Components(mean, rows[:COMPONENTS].T)


def log_fold_change(cells: NDArray[np.int64], control: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ln of the ratio of mean counts (G,), with `PSEUDO` added to both means."""
    return np.asarray(np.log(cells.mean(0) + PSEUDO) - np.log(control.mean(0) + PSEUDO))


def compute_scores(cells: NDArray[np.int64], target: Target) -> dict[str, float]:
    """Return the value of every score of predicted cells (n, G). Raises `DataError` for fewer than 2 cells."""
    if min(len(cells), len(target.control), len(target.treated)) < 2:
        raise DataError("Cells are compared as sets: give at least 2 predicted, 2 control and 2 treated cells.")
    predicted = log_fold_change(cells, target.control)
    changed = np.abs(target.lfc) > CHANGED
    return {
        "pearson": pearson(predicted, target.lfc),
        "pearson changed": pearson(predicted[changed], target.lfc[changed]),
        "slope error": abs(slope(predicted, target.lfc, changed) - 1),
        "energy": energy(cells, target),
        "centroid rank": centroid_rank(cells, target),
    }


def pearson(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Return Pearson's correlation; 0 where one of them does not vary."""
    if len(x) < 2 or x.std() < 1e-12 or y.std() < 1e-12:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def slope(x: NDArray[np.float64], y: NDArray[np.float64], kept: Bool[np.ndarray, " g"]) -> float:
    """Return the slope through the origin of x on y over the `kept` genes; 0 where y is 0 on all of them."""
    squares = float(np.square(y[kept]).sum())
    return float((x * y)[kept].sum()) / squares if squares > 0 else 0.0


def energy(cells: NDArray[np.int64], target: Target) -> float:
    """Return the energy distance of cells (n, G) to the treated ones, in principal components."""
    return energy_distance(target.axes.of(cells), target.projected)


def centroid_rank(cells: NDArray[np.int64], target: Target) -> float:
    """Return the share of the other conditions whose centroid is nearer than the right one; 0 without others."""
    squared = np.square(target.centroids - log_normalise(cells).mean(0)).sum(1)
    others = np.delete(squared, target.own)
    return float((others < squared[target.own]).mean()) if len(others) else 0.0


def scaled(
    values: Mapping[str, float], null: Mapping[str, float], oracle: Mapping[str, float]
) -> dict[str, float | None]:
    """Return every score on the scale from null (0) to oracle (1); None where these two are the same."""
    out: dict[str, float | None] = {}
    for name, value in values.items():
        span = oracle[name] - null[name]
        out[name] = (value - null[name]) / span if abs(span) > 1e-12 else None
    return out


def averaged(rows: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the mean of every score over conditions.

    Average before `scaled`: a ratio of means is steadier than a mean of ratios.
    """
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
