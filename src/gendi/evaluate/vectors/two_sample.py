"""Can a classifier tell the sets apart? The area under its ROC curve out of fold: 0.5 if it cannot, 1 if it always can.

[Lopez-Paz and Oquab 2017] Three traps make the number meaningless, and are closed here. A row that occurs twice, once
in training and once in testing, is recognised rather than judged: repeats within a set are dropped, and rows equal
across the sets share a fold. Sets of unequal size reward the majority: the larger one is thinned. And five nearest
neighbours pass fakes that a forest rejects at once, so a random forest and a logistic regression judge.

The area is the mean over folds of each fold's own, as scores of different folds are on different scales.
"""

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from gendi.diffusion.randomness import stream
from gendi.errors import UsageError
from gendi.evaluate.metrics import Features

FOLDS, TREES, LEAST = 5, 60, 20
Judge = Literal["forest", "logistic"]


class Verdict(NamedTuple):
    """Out-of-fold scores: which rows were of the first set, what the judge gave them, and in which fold."""

    first: Bool[np.ndarray, " n"]
    score: Float64[np.ndarray, " n"]
    fold: Int64[np.ndarray, " n"]

    @property
    def auc(self) -> float:
        """Mean over folds of the area under the curve."""
        return float(np.mean([area(self.score[self.fold == f], self.first[self.fold == f]) for f in self.folds]))

    @property
    def folds(self) -> range:
        """The numbers of the folds."""
        return range(int(self.fold.max()) + 1)

    def replicates(self, count: int, rng: np.random.Generator) -> Float64[np.ndarray, " count"]:
        """Return bootstrap replicates of `auc`: rows are drawn anew within fold and set, the judges stay."""
        out = np.zeros((count, len(self.folds)))
        for f in self.folds:
            parts = [np.flatnonzero((self.fold == f) & (self.first == which)) for which in (True, False)]
            for b in range(count):
                rows = np.concatenate([rng.choice(part, len(part)) for part in parts])
                out[b, f] = area(self.score[rows], self.first[rows])
        return np.asarray(out.mean(axis=1))


def two_sample(x: Features, y: Features, judge: Judge, seed: int = 0) -> Verdict:
    """Judge rows of `x` (first) against rows of `y`, five folds out of fold.

    Raises `UsageError` where fewer than 20 different rows are left of a set.
    """
    x, y = np.unique(x, axis=0), np.unique(y, axis=0)
    n = min(len(x), len(y))
    if n < LEAST:
        raise UsageError(
            f"A classifier needs at least {LEAST} different rows of each set; there are {len(x)} and {len(y)}."
        )
    rng = stream(seed, "two-sample rows")
    x, y = (z[rng.permutation(len(z))[:n]] for z in (x, y))
    rows = np.concatenate([x, y])
    first = np.arange(2 * n) < n
    _, group = np.unique(rows, axis=0, return_inverse=True)
    # Groups are rows equal across the sets: one of each. Pairs are dealt like the others, so folds stay balanced.
    score, fold = np.zeros(2 * n), np.zeros(2 * n, np.int64)
    for f, (train, test) in enumerate(_folds(rows, first, group.reshape(-1), seed)):
        score[test] = _judge(judge, seed).fit(rows[train], first[train]).predict_proba(rows[test])[:, 1]
        fold[test] = f
    return Verdict(first, score, fold)


def area(score: np.ndarray, positive: np.ndarray) -> float:
    """Share of pairs (positive, negative) that the score puts in order, ties counting half (Mann and Whitney)."""
    from scipy.stats import rankdata

    n = int(positive.sum())
    m = len(positive) - n
    if not n or not m:
        return 0.5
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * m))


def _folds(rows: np.ndarray, first: np.ndarray, group: np.ndarray, seed: int) -> Any:
    from sklearn.model_selection import StratifiedGroupKFold

    return StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(rows, first, group)


def _judge(judge: Judge, seed: int) -> Any:
    if judge == "forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(TREES, min_samples_leaf=3, random_state=seed, n_jobs=1)
    return logistic()


def logistic() -> Any:
    """Return a logistic regression on standardised columns, which does not complain about its last digits."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    class Quiet(LogisticRegression):  # type: ignore[misc]
        def fit(self, *args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                return super().fit(*args, **kwargs)

    return make_pipeline(StandardScaler(), Quiet(C=0.1, max_iter=200))
