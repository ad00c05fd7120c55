"""Fakes that a measurement must catch, or it measures nothing.

class means    every cell is its class's mean, rounded                    no variance
PCA mixture    Gaussians in principal components, rounded                 no counts' noise, wrong zeros
shuffled       each gene permuted within its class                        exact marginals, no correlations
copies         training cells again                                       nothing new
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int64, Num

from gendi.cells.pca_mixture import PCAMixture
from gendi.randomness import stream

Counts = Num[np.ndarray, "n g"]
Labels = Int64[np.ndarray, " m"]
Control = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
"""(counts (N, G), their classes (N,), classes to draw (n,), seed) -> counts (n, G)."""


def class_means(counts: Counts, labels: Labels, asked: Labels, seed: int) -> Counts:
    """Return each asked class's mean cell (n, G), rounded to whole counts; the seed changes nothing."""
    means = {c: np.rint(counts[labels == c].mean(0)) for c in np.unique(asked)}
    return np.stack([means[c] for c in asked]).astype(np.int64)


def pca_mixture(counts: Counts, labels: Labels, asked: Labels, seed: int) -> Counts:
    """Draw from `gendi.cells.pca_mixture`, (n, G)."""
    return PCAMixture.fit(counts, labels).sample(len(asked), asked, seed)


def shuffled(counts: Counts, labels: Labels, asked: Labels, seed: int) -> Counts:
    """Return cells (n, G) whose every gene is that of a random cell of the class, each gene's cells permuted anew."""
    out = np.empty((len(asked), counts.shape[1]), np.int64)
    for c in np.unique(asked):
        rows, own = np.flatnonzero(asked == c), counts[labels == c]
        rng = stream(seed, "shuffled", index=int(c))
        turns = -(-len(rows) // len(own))
        out[rows] = np.concatenate([rng.permuted(own, axis=0) for _ in range(turns)])[: len(rows)]
    return out


def copies(counts: Counts, labels: Labels, asked: Labels, seed: int) -> Counts:
    """Return training cells (n, G) of the asked classes, each used once before any is used again."""
    out = np.empty((len(asked), counts.shape[1]), np.int64)
    for c in np.unique(asked):
        rows, own = np.flatnonzero(asked == c), np.flatnonzero(labels == c)
        rng = stream(seed, "copies", index=int(c))
        order = np.concatenate([rng.permutation(own) for _ in range(-(-len(rows) // len(own)))])
        out[rows] = counts[order[: len(rows)]]
    return out


CONTROLS: dict[str, Control] = {
    "class means": class_means,
    "PCA + Gaussian mixture": pca_mixture,
    "genes shuffled within class": shuffled,
    "copies of training cells": copies,
}
