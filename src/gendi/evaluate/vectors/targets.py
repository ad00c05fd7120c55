"""Train on samples, test on real rows, for columns that somebody may want to predict.

A target is a column with words or truth values. A classifier learns it from the other columns of the samples, and is
tested on held-out rows by its **balanced accuracy**: the mean over words of the share of rows that it gets right, so
that always saying the commonest word is worth 1 / K for K words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gendi.evaluate.vectors.classes import recognised
from gendi.evaluate.vectors.space import Indices, Part, Raw, RowSet, Space

PREFIX = "tstr:"
MOST_WORDS, FEWEST_ROWS = 20, 5
"""Most words of a target, and the fewest training rows of each."""
MOST_TARGETS, MOST_CANDIDATES, SHOWN = 5, 20, 1000
"""Most targets that are measured, most columns that are tried, and most rows that a classifier learns from."""
ABOVE = 0.1
"""How far above 1 / K the balanced accuracy of real rows must lie, on the scale from there to 1."""


@dataclass(frozen=True)
class Target:
    """A column to predict, and where its codes are among the columns of rows."""

    name: str
    columns: slice
    """One column of 0 and 1, or a column of 0 and 1 for each word."""
    gap: int | None = None
    """The column that is 1 where the cell is missing."""

    def labels(self, rows: Raw) -> Indices:
        """Return the word (n,) of each row; -1 where there is none."""
        codes = rows[:, self.columns]
        known = np.ones(len(rows), bool) if self.gap is None else rows[:, self.gap] < 0.5
        if codes.shape[1] == 1:
            return np.where(known, np.rint(codes[:, 0]), -1).astype(np.int64)
        return np.where(known & (codes.sum(axis=1) > 0.5), codes.argmax(axis=1), -1).astype(np.int64)

    def others(self, x: np.ndarray) -> np.ndarray:
        """Return features (n, d) without those of the target."""
        mine = np.zeros(x.shape[1], bool)
        mine[self.columns] = True
        if self.gap is not None:
            mine[self.gap] = True
        return np.asarray(x[:, ~mine])


def balanced_accuracy(target: Target, x: Part, y: Part) -> float | None:
    """Return the balanced accuracy on y of a classifier that learned the target from x.

    Return None if x has a single word of it, or y none.
    """
    learned, asked = target.labels(x.rows[:SHOWN]), target.labels(y.rows)
    a, b = learned >= 0, asked >= 0
    if not a.any() or not b.any():
        return None
    right = recognised(target.others(x.x[:SHOWN][a]), learned[a], target.others(y.x[b]), asked[b])
    if right is None:
        return None
    return float(np.mean([right[asked[b] == word].mean() for word in np.unique(asked[b])]))


def likely(candidates: Sequence[Target], train: RowSet, heldout: RowSet, space: Space) -> tuple[Target, ...]:
    """Return the targets that real rows can predict, the best ones first: `MOST_TARGETS` at most.

    A candidate has 2 to `MOST_WORDS` words, each in `FEWEST_ROWS` training rows or more. Real training rows must
    predict it in held-out ones by `ABOVE`.
    """
    parts = [_part(rows, space) for rows in (train, heldout)]
    found = []
    for target in candidates[:MOST_CANDIDATES]:
        counts = np.bincount(labels[labels >= 0]) if len(labels := target.labels(train.rows)) else np.zeros(0)
        words = int((counts > 0).sum())
        if not 2 <= words <= MOST_WORDS or counts[counts > 0].min() < FEWEST_ROWS:
            continue
        accuracy = balanced_accuracy(target, *parts)
        score = 0.0 if accuracy is None else (accuracy - 1 / words) / (1 - 1 / words)
        if score >= ABOVE:
            found.append((score, target))
    return tuple(target for _, target in sorted(found, key=lambda pair: -pair[0])[:MOST_TARGETS])


def _part(rows: RowSet, space: Space) -> Part:
    x = space.forward(rows.rows)
    return Part(rows.rows, x, np.zeros((len(x), 0)), np.zeros(len(x), "V16"), None)
