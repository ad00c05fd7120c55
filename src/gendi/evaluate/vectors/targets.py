"""Train on samples, test on real rows, for columns that somebody may want to predict.

A target is a column with words or truth values, or one of numbers. What is to predict it learns it from the other
columns of the samples, and is tested on held-out rows:

    words      a logistic regression, by its balanced accuracy: the mean over words of the share of rows that it gets
               right, so that always saying the commonest word is worth 1 / K for K words
    numbers    a random forest, by its R^2: the share of the variance in held-out rows that it explains; 0 for always
               saying their mean, and below 0 for what is worse
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gendi.evaluate.vectors.classes import recognised
from gendi.evaluate.vectors.space import Indices, Part, Raw, RowSet, Space

PREFIX, NUMBERS = "tstr:", "r2:"
"""Before the name of the column, in the names of metrics of words and of numbers."""
MOST_WORDS, FEWEST_ROWS = 20, 5
"""Most words of a target, and the fewest training rows of each."""
MOST_TARGETS, MOST_NUMBERS, MOST_CANDIDATES, SHOWN = 5, 3, 20, 1000
"""Most targets of words and of numbers that are measured, most columns of either that are tried, and most rows that are
learned from."""
ABOVE = 0.1
"""How far above 1 / K the balanced accuracy of real rows must lie, on the scale from there to 1, or their R^2 above 0.
"""
TREES, LEAF = 40, 3


@dataclass(frozen=True)
class Target:
    """A column to predict, and where its codes are among the columns of rows."""

    name: str
    columns: slice
    """One column of 0 and 1, a column of 0 and 1 for each word, or one of numbers."""
    gap: int | None = None
    """The column that is 1 where the cell is missing."""
    number: bool = False
    """Whether the column has numbers."""

    @property
    def metric(self) -> str:
        """The name of the metric."""
        return (NUMBERS if self.number else PREFIX) + self.name

    def known(self, rows: Raw) -> np.ndarray:
        """Return whether the cell is there (n,)."""
        return np.ones(len(rows), bool) if self.gap is None else np.asarray(rows[:, self.gap] < 0.5)

    def labels(self, rows: Raw) -> Indices:
        """Return the word (n,) of each row; -1 where there is none."""
        codes = rows[:, self.columns]
        known = self.known(rows)
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


def quality(target: Target, x: Part, y: Part) -> float | None:
    """Return how well what learned the target from x predicts it in y: balanced accuracy, or R^2 of numbers."""
    return explained(target, x, y) if target.number else balanced_accuracy(target, x, y)


def explained(target: Target, x: Part, y: Part) -> float | None:
    """Return the R^2 on y of a random forest that learned the target, a number, from x.

    Return None if x has fewer than two rows with it, or if it does not vary in y.
    """
    from sklearn.ensemble import RandomForestRegressor

    column = target.columns.start
    a, b = target.known(x.rows[:SHOWN]), target.known(y.rows)
    learned, asked = x.x[:SHOWN][a, column].astype(np.float64), y.x[b, column].astype(np.float64)
    if len(learned) < 2 or len(asked) < 2 or not asked.var() > 0:
        return None
    forest = RandomForestRegressor(TREES, min_samples_leaf=LEAF, max_features=0.5, random_state=0, n_jobs=1)
    said = forest.fit(target.others(x.x[:SHOWN][a]), learned).predict(target.others(y.x[b]))
    return float(1 - np.mean((asked - said) ** 2) / asked.var())


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
    """Return the targets that real rows can predict, the best ones first, those of words before those of numbers.

    There are `MOST_TARGETS` of words and `MOST_NUMBERS` of numbers at most. A candidate of words has 2 to `MOST_WORDS`
    of them, each in `FEWEST_ROWS` training rows or more. Real training rows must predict it in held-out ones, by
    `ABOVE`.
    """
    parts = [_part(rows, space) for rows in (train, heldout)]
    found, numbers = [], []
    for target in [target for target in candidates if target.number][:MOST_CANDIDATES]:
        share = explained(target, *parts)
        if share is not None and share >= ABOVE:
            numbers.append((share, target))
    for target in [target for target in candidates if not target.number][:MOST_CANDIDATES]:
        counts = np.bincount(labels[labels >= 0]) if len(labels := target.labels(train.rows)) else np.zeros(0)
        words = int((counts > 0).sum())
        if not 2 <= words <= MOST_WORDS or counts[counts > 0].min() < FEWEST_ROWS:
            continue
        accuracy = balanced_accuracy(target, *parts)
        score = 0.0 if accuracy is None else (accuracy - 1 / words) / (1 - 1 / words)
        if score >= ABOVE:
            found.append((score, target))
    best = [sorted(each, key=lambda pair: -pair[0]) for each in (found, numbers)]
    return tuple(target for _, target in (*best[0][:MOST_TARGETS], *best[1][:MOST_NUMBERS]))


def _part(rows: RowSet, space: Space) -> Part:
    x = space.forward(rows.rows)
    return Part(rows.rows, x, np.zeros((len(x), 0)), np.zeros(len(x), "V16"), None)
