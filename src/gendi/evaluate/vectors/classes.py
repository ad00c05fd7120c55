"""Do the classes of the samples mean what those of the data mean?

- Train on synthetic, test on real: a logistic regression learns the classes from the samples and is tried on held-out
  rows; beside it stands the same one that learned from as many real rows.
- Fold changes: the difference of a column's mean between a class and the rest, in the samples against the data. The
  slope of the line through all (class, column) points is 1 where effects have the right size, below 1 where classes
  are pulled together and above 1 where they are exaggerated (as strong guidance does). Both axes are noisy, equally so
  for a faithful model, so the line is the orthogonal one (Deming's, through their principal axis): ordinary least
  squares would give even real halves a slope below 1.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from gendi.evaluate.metrics import Features
from gendi.evaluate.vectors.two_sample import logistic

LEAST = 2
"""Rows of a class below which its mean is not compared."""
Labels = Int64[np.ndarray, " _"]


def recognised(x: Features, labels: Labels, test: Features, truth: Labels) -> Bool[np.ndarray, " _"] | None:
    """Return which `test` rows a classifier trained on (x, labels) names right; None where x has a single class."""
    if len(np.unique(labels)) < 2:
        return None
    return np.asarray(logistic().fit(x, labels).predict(test) == truth)


def shared_classes(a: Labels, b: Labels) -> Labels:
    """Return the classes with at least two rows in both sets."""
    found = [set(values[counts >= LEAST]) for values, counts in (np.unique(z, return_counts=True) for z in (a, b))]
    return np.array(sorted(found[0] & found[1]), np.int64)


def fold_changes(x: Features, labels: Labels, classes: Labels) -> Float64[np.ndarray, "_ _"]:
    """Mean of each class minus the mean of all other rows (c, d); of log counts, that is a log-fold change."""
    out = np.zeros((len(classes), x.shape[1]))
    for i, c in enumerate(classes):
        out[i] = x[labels == c].mean(axis=0, dtype=np.float64) - x[labels != c].mean(axis=0, dtype=np.float64)
    return out


class FoldChanges(NamedTuple):
    """Slope of the samples' fold changes against the data's, and their Pearson correlation."""

    slope: float
    r: float


def compare_fold_changes(x: Features, labels: Labels, real: Features, truth: Labels) -> FoldChanges | None:
    """Orthogonal slope and correlation over all classes shared; None with fewer than two of them, or no effect."""
    classes = shared_classes(labels, truth)
    if len(classes) < 2:
        return None
    a, b = fold_changes(real, truth, classes).reshape(-1), fold_changes(x, labels, classes).reshape(-1)
    saa, sbb, sab = float(a @ a), float(b @ b), float(a @ b)
    if saa == 0 or sbb == 0:
        return None
    # Principal axis of [[saa, sab], [sab, sbb]] through the origin: tan(2 angle) = 2 sab / (saa - sbb).
    slope = float(np.tan(0.5 * np.arctan2(2 * sab, saa - sbb)))
    return FoldChanges(slope, sab / float(np.sqrt(saa * sbb)))
