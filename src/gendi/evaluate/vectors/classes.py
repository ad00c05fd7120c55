"""Do the classes of the samples mean the same as those of the data?

- Train on synthetic, test on real: a logistic regression learns the classes from the samples and is tested on held-out
  rows. Its floor is the same regression, trained on as many real rows.
- Fold changes: the difference between a column's mean in a class and in the rest, for samples against data. The slope
  of the line through all (class, column) points is 1 where effects have the right size, below 1 where classes are
  pulled together, and above 1 where they are exaggerated, as strong guidance does. Both axes are noisy, and equally so
  for a faithful model. The line is therefore the orthogonal one (Deming's, along the principal axis): ordinary least
  squares would give even two real halves a slope below 1.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from gendi.evaluate.metrics import Features
from gendi.evaluate.vectors.two_sample import logistic

LEAST = 2
"""Fewest rows of a class whose mean is compared."""
Labels = Int64[np.ndarray, " _"]


def recognised(x: Features, labels: Labels, test: Features, truth: Labels) -> Bool[np.ndarray, " _"] | None:
    """Return which `test` rows a classifier trained on (x, labels) labels rightly; None if x has a single class."""
    if len(np.unique(labels)) < 2:
        return None
    return np.asarray(logistic().fit(x, labels).predict(test) == truth)


def shared_classes(a: Labels, b: Labels) -> Labels:
    """Return the classes with at least two rows in both sets."""
    found = [set(values[counts >= LEAST]) for values, counts in (np.unique(z, return_counts=True) for z in (a, b))]
    return np.array(sorted(found[0] & found[1]), np.int64)


def fold_changes(x: Features, labels: Labels, classes: Labels) -> Float64[np.ndarray, "_ _"]:
    """Return the mean of each class minus the mean of all other rows (c, d): for log counts, the log-fold changes."""
    out = np.zeros((len(classes), x.shape[1]))
    for i, c in enumerate(classes):
        out[i] = x[labels == c].mean(axis=0, dtype=np.float64) - x[labels != c].mean(axis=0, dtype=np.float64)
    return out


class FoldChanges(NamedTuple):
    """Slope of the samples' fold changes against the data's, and their Pearson correlation."""

    slope: float
    r: float


def compare_fold_changes(x: Features, labels: Labels, real: Features, truth: Labels) -> FoldChanges | None:
    """Return the orthogonal slope and the correlation over all shared classes.

    Return None if the sets share fewer than two classes, or if the classes of one set do not differ.
    """
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
