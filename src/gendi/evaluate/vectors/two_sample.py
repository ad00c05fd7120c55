"""Can a classifier tell two sets apart? The area under its ROC curve, out of fold: 0.5 means never, 1 means always.

[Lopez-Paz and Oquab 2017] Three mistakes would make the number meaningless, and this module avoids them:

- A row that occurs both in training and in testing is recognised rather than judged. So repeats within a set are
  dropped, and rows that are equal across the sets share a fold.
- Sets of unequal size reward guesses of the majority. So the larger set is thinned.
- A classifier by five nearest neighbours accepts fakes that a forest rejects at once. So the judges are a random forest
  and a logistic regression.

The area is computed within each fold and averaged over folds, as scores of different folds are on different scales.
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
    """Out-of-fold scores of the rows of both sets."""

    first: Bool[np.ndarray, " n"]
    """Whether the row belongs to the first set."""
    score: Float64[np.ndarray, " n"]
    """The judge's probability of that."""
    fold: Int64[np.ndarray, " n"]
    """The number of the fold in which the row was tested."""
    row: Int64[np.ndarray, " n"]
    """The number of the row in its set."""

    @property
    def auc(self) -> float:
        """Mean over folds of the area under the curve."""
        return float(np.mean([area(self.score[self.fold == f], self.first[self.fold == f]) for f in self.folds]))

    @property
    def folds(self) -> range:
        """The numbers of the folds."""
        return range(int(self.fold.max()) + 1)

    def replicates(
        self, count: int, rng: np.random.Generator, groups: Int64[np.ndarray, " m"] | None = None
    ) -> Float64[np.ndarray, " count"]:
        """Return bootstrap replicates of `auc`: rows are drawn anew within fold and set, and their scores stay.

        With the group of each row of the second set, its whole groups are drawn anew, all folds together.
        """
        if groups is not None:
            return np.array([self._with_groups(rng, groups) for _ in range(count)])
        out = np.zeros((count, len(self.folds)))
        for f in self.folds:
            parts = [np.flatnonzero((self.fold == f) & (self.first == which)) for which in (True, False)]
            for b in range(count):
                rows = np.concatenate([rng.choice(part, len(part)) for part in parts])
                out[b, f] = area(self.score[rows], self.first[rows])
        return np.asarray(out.mean(axis=1))

    def _with_groups(self, rng: np.random.Generator, groups: Int64[np.ndarray, " m"]) -> float:
        names, of = np.unique(groups, return_inverse=True)
        drawn = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        times = np.where(self.first, 0, drawn[of.reshape(-1)[np.where(self.first, 0, self.row)]])
        areas = []
        for f in self.folds:
            own = np.flatnonzero((self.fold == f) & self.first)
            rows = np.concatenate([rng.choice(own, len(own)), np.repeat(*_of(self.fold == f, times))])
            if not self.first[rows].all():
                areas.append(area(self.score[rows], self.first[rows]))
        return float(np.mean(areas)) if areas else 0.5


def two_sample(x: Features, y: Features, judge: Judge, seed: int = 0) -> Verdict:
    """Judge rows of `x`, the first set, against rows of `y`, out of fold in five folds.

    Raises `UsageError` if a set has fewer than 20 different rows.
    """
    (x, of_x), (y, of_y) = (np.unique(z, axis=0, return_index=True) for z in (x, y))
    n = min(len(x), len(y))
    if n < LEAST:
        raise UsageError(
            f"A classifier needs at least {LEAST} different rows of each set; there are {len(x)} and {len(y)}."
        )
    rng = stream(seed, "two-sample rows")
    kept = [rng.permutation(len(z))[:n] for z in (x, y)]
    rows = np.concatenate([x[kept[0]], y[kept[1]]])
    at = np.concatenate([of_x[kept[0]], of_y[kept[1]]]).astype(np.int64)
    first = np.arange(2 * n) < n
    _, group = np.unique(rows, axis=0, return_inverse=True)
    fold, score = _folds(first, group.reshape(-1), seed), np.zeros(2 * n)
    for f in range(FOLDS):
        train, test = fold != f, fold == f
        score[test] = _judge(judge, seed).fit(rows[train], first[train]).predict_proba(rows[test])[:, 1]
    return Verdict(first, score, fold, at)


def _of(where: Bool[np.ndarray, " n"], times: Int64[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.flatnonzero(where)
    return rows, times[rows]


def area(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the share of pairs (positive, negative) that the score orders rightly; ties count half.

    [Mann and Whitney 1947]
    """
    from scipy.stats import rankdata

    n = int(positive.sum())
    m = len(positive) - n
    if not n or not m:
        return 0.5
    return float((rankdata(score)[positive].sum() - n * (n + 1) / 2) / (n * m))


def _folds(first: Bool[np.ndarray, " n"], group: Int64[np.ndarray, " n"], seed: int) -> Int64[np.ndarray, " n"]:
    """Return the fold of each row. A group holds equal rows, at most one of each set, and stays together.

    Groups are shuffled and dealt in turn, first those of one set, then those of the other, then those of both. So every
    fold has as many rows of each set, to within two.
    """
    size = np.bincount(group)
    kind = np.where(size == 2, 2, np.bincount(group, weights=first) > 0)
    order = stream(seed, "two-sample folds").permutation(len(size))
    dealt = np.empty(len(size), np.int64)
    dealt[order[np.argsort(kind[order], kind="stable")]] = np.arange(len(size)) % FOLDS
    return np.asarray(dealt[group])


def _judge(judge: Judge, seed: int) -> Any:
    if judge == "forest":
        from sklearn.ensemble import RandomForestClassifier

        return RandomForestClassifier(TREES, min_samples_leaf=3, random_state=seed, n_jobs=1)
    return logistic()


def logistic() -> Any:
    """Return a logistic regression on standardised columns, without warnings about unfinished convergence."""
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
