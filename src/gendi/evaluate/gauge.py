"""Quick metrics of a few hundred samples, which say while a model trains how near it is to the data, and whether it
copies its training rows.

**Distance.** For a kernel k, the unbiased squared distance of two distributions

    D = mean k(x_i, x_j), i != j  +  mean k(y_i, y_j), i != j  -  2 mean k(x_i, y_j)

between samples x and a fixed subset y of the training rows (Gretton et al. 2012, eq. 3; with k = -|a - b| it is the
energy distance of Székely and Rizzo 2013). As it is unbiased, it means the same for any number of samples, and real
rows have the expectation 0. All evaluations of a run have the same y, so its choice moves them together, and the
standard error is that of the samples alone: the jackknife that leaves out one sample at a time. Its pseudo-values, one
for each sample, say how much each sample contributes. Samples that start from the same noises contribute alike, so the
error of a difference between two evaluations is that of the differences of pseudo-values, which is smaller.

**Train-likeness.** For a row, let r be its distance to the nearest training row over its distance to the nearest
held-out row. The train-likeness is the probability that r is smaller for a sample than for a real held-out row, where
ties count half (Mann and Whitney 1947). Each sample is compared with all held-out rows but one, as a held-out row is
with all but itself. So if the samples come from the distribution of the data, they and the held-out rows are
exchangeable, and the train-likeness is 1/2 whatever the number of training rows; copies of training rows bring it to 1.
A blurred picture is near to everything: that changes both distances, and so hardly their quotient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Int64

from gendi.errors import UsageError
from gendi.evaluate.metrics import energy_kernel, squared_distances
from gendi.machine.stopping import Poll, may_stop

TRAIN_LIKENESS = "train-likeness"
REFERENCE_MOST = 2000
"""Most training rows in the reference of the distance, and most held-out rows in its floor."""
FEWEST_HELD_OUT = 20
"""Held-out rows below which no train-likeness is computed: its standard error would be more than 0.06."""

STANDARD_ERRORS = 3.0
"""By how many standard errors fakes must be farther than real rows to count as caught."""

Features = Float[np.ndarray, "_ _"]
Kernel = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A function from rows (n, d) and (m, d) to k (n, m)."""
Nearest = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""A function that returns for rows the distances to their k nearest records and the indices of these, (n, k) each."""


@dataclass(frozen=True)
class Quantity:
    """A number with its standard error, and what real rows have in the samples' place."""

    name: str
    value: float
    error: float
    """The standard error of `value`, as far as it comes from the choice of the samples."""
    floor: float | None = None
    """The same for real held-out rows; None if there are too few of them."""
    floor_error: float | None = None
    """The standard error of the floor; for the train-likeness, the standard deviation of what real rows would give."""
    parts: tuple[float, ...] = ()
    """The jackknife's pseudo-values, one for each sample, to six digits: their mean is about `value`."""


@dataclass(frozen=True)
class GaugeChoice:
    """What measures the samples of a run. It is chosen before the first evaluation and kept in the checkpoints."""

    features: str = ""
    """The features of the distance, if they are not the kind's usual ones."""
    missed: tuple[str, ...] = ()
    """Fakes that the distance takes for real rows on these data. If there are any, it decides nothing."""
    sha256: str = ""
    """The hash of features that were learned."""


@runtime_checkable
class Gauge(Protocol):
    """Measures samples. The first of its results is the one to follow, a distance: the smaller, the better."""

    def __call__(self, rows: np.ndarray, poll: Poll | None = None) -> tuple[Quantity, ...]:
        """Measure decoded rows (n, ...); `poll` is called between parts and raises to stop."""
        ...

    def work(self, n: int) -> float:
        """Return about how many floating-point operations a call with n rows takes."""
        ...


def energy_of_pairs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return -|a - b| for all pairs (n, m), the kernel of the energy distance."""
    out = np.empty((len(x), len(y)))
    for rows, squared in squared_distances(x, y):
        out[rows] = energy_kernel(squared)
    return out


def cubic_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return (a.b / d + 1)^3 for all pairs (n, m), the kernel of the kernel (Inception) distance."""
    return np.asarray((x.astype(np.float64) @ y.T.astype(np.float64) / x.shape[1] + 1) ** 3)


class Distance:
    """The distance of samples to a reference, by name, with its floor.

    Args:
        name: the name of the metric.
        kernel: k.
        reference: features (m, d) of training rows.
        heldout: features of held-out rows, for the floor.
    """

    def __init__(self, name: str, kernel: Kernel, reference: Features, heldout: Features) -> None:
        if len(reference) < 2:
            raise UsageError(f"A reference of {len(reference)} rows has no spread: give at least 2.")
        self.name, self.kernel, self.reference, self._held = name, kernel, reference, len(heldout)
        m = len(reference)
        within = kernel(reference, reference)
        self._within = float(within.sum() - np.trace(within)) / (m * (m - 1))
        floor = self._measure(heldout)[:2] if len(heldout) > 2 else (None, None)
        self._floor: tuple[float | None, float | None] = floor

    def __call__(self, features: Features) -> Quantity:
        """Measure features (n, d). Raises `UsageError` for fewer than 3 rows, or NaN or infinity in them."""
        if len(features) < 3 or not np.isfinite(features).all():
            raise UsageError(f"{len(features)} samples cannot be measured: at least 3 with finite features are needed.")
        value, error, parts = self._measure(features)
        return Quantity(self.name, value, error, *self._floor, tuple(float(f"{part:.6g}") for part in parts))

    def _measure(self, x: Features) -> tuple[float, float, Float64[np.ndarray, " n"]]:
        """Return the distance, its standard error, and the pseudo-values."""
        n, m = len(x), len(self.reference)
        own = self.kernel(x, x)
        row = own.sum(axis=1) - np.diagonal(own)
        across = self.kernel(x, self.reference).sum(axis=1) / m
        total, crossed = float(row.sum()), float(across.sum())
        value = total / (n * (n - 1)) + self._within - 2 * crossed / n
        without = (total - 2 * row) / ((n - 1) * (n - 2)) - 2 * (crossed - across) / (n - 1)
        parts = n * value - (n - 1) * (without + self._within)
        return value, float(np.std(parts, ddof=1) / np.sqrt(n)), parts

    def misses(self, features: Features) -> bool:
        """Return whether the distance takes these features of fakes (n, d) for those of n real rows.

        It does if they are not farther than the real held-out rows by `STANDARD_ERRORS` standard errors, those of the
        floor and of n real rows together. Without a floor nobody knows, and that counts as no.
        """
        floor, error = self._floor
        if floor is None or error is None:
            return False
        spread = error * float(np.sqrt(1 + self._held / len(features)))
        return self(features).value <= floor + STANDARD_ERRORS * spread

    def work(self, n: int) -> float:
        """Return about how many floating-point operations a call takes."""
        return float(2 * n * (n + len(self.reference)) * (self.reference.shape[1] + 10))


class TrainLikeness:
    """The train-likeness of samples; see the module's docstring.

    Args:
        to_train: finds the nearest training rows.
        to_heldout: finds the nearest held-out rows.
        heldout: the held-out rows themselves, in the form that both functions take.
        work: floating-point operations of the search for one row.
    """

    def __init__(self, to_train: Nearest, to_heldout: Nearest, heldout: np.ndarray, work: float) -> None:
        if len(heldout) < 2:
            raise UsageError(f"{len(heldout)} held-out rows have no neighbours among themselves: give at least 2.")
        self._to_train, self._to_heldout, self._work = to_train, to_heldout, work
        self._m = len(heldout)
        self._real = np.sort(self._relative(heldout))

    def __call__(self, rows: np.ndarray) -> Quantity:
        """Measure rows (n, ...) in the form that the searches take."""
        n, m = len(rows), self._m
        ours = np.sort(self._relative(rows))
        larger = _share_above(self._real, ours)
        smaller = 1 - _share_above(ours, self._real)
        # The variances of the placements of either set among the other  [DeLong et al. 1988]
        error = float(np.sqrt(np.var(larger, ddof=1) / n + np.var(smaller, ddof=1) / m)) if n > 1 else 0.5
        by_chance = float(np.sqrt((n + m + 1) / (12 * n * m)))
        return Quantity(TRAIN_LIKENESS, float(larger.mean()), error, 0.5, by_chance)

    def _relative(self, rows: np.ndarray) -> Float64[np.ndarray, " n"]:
        near = self._to_train(rows, 1)[0][:, 0]
        distance, index = self._to_heldout(rows, 2)
        left_out = np.arange(len(rows)) % self._m
        other = np.where(index[:, 0] == left_out, distance[:, 1], distance[:, 0])
        both = (near == 0) & (other == 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(both, 1.0, near / other)

    def work(self, n: int) -> float:
        """Return about how many floating-point operations a call takes."""
        return n * self._work


def _share_above(sorted_values: np.ndarray, of: np.ndarray) -> Float64[np.ndarray, " n"]:
    """Return for each number the share of the values that are larger, where equal ones count half."""
    below, upto = (np.searchsorted(sorted_values, of, side) for side in ("left", "right"))
    return np.asarray(1 - (below + upto) / (2 * len(sorted_values)))


def nearest_rows(records: Features) -> Nearest:
    """Return the search for nearest records by Euclidean distance, which is exactly 0 for copies."""

    def search(rows: np.ndarray, k: int) -> tuple[Float64[np.ndarray, "n k"], Int64[np.ndarray, "n k"]]:
        k = min(k, len(records))
        found = []
        for _, squared in squared_distances(rows, records):
            some = np.argpartition(squared, k - 1, axis=1)[:, :k]
            found.append(np.take_along_axis(some, np.argsort(np.take_along_axis(squared, some, 1), 1, "stable"), 1))
        index = np.concatenate(found).astype(np.int64)
        return np.linalg.norm(rows[:, None].astype(np.float64) - records[index], axis=2), index

    return search


class FeatureGauge:
    """Distance and train-likeness.

    Args:
        distance: measures features.
        features: turns decoded rows into features.
        likeness: measures `records` of decoded rows; None where there are too few held-out rows.
        records: turns decoded rows into the form that `likeness` takes; by default into their features.
        work: floating-point operations of `features` for one row.
        sha256: the hash of the features, if they have one.
    """

    def __init__(
        self,
        distance: Distance,
        features: Callable[[np.ndarray], np.ndarray],
        likeness: TrainLikeness | None,
        records: Callable[[np.ndarray], np.ndarray] | None = None,
        work: float = 0.0,
        sha256: str = "",
    ) -> None:
        self.distance, self.features, self.likeness, self.records = distance, features, likeness, records
        self._work, self.sha256 = work, sha256

    def __call__(self, rows: np.ndarray, poll: Poll | None = None) -> tuple[Quantity, ...]:
        """Measure decoded rows (n, ...)."""
        features = self.features(rows)
        may_stop(poll)
        found = self.distance(features)
        may_stop(poll)
        if self.likeness is None:
            return (found,)
        return found, self.likeness(features if self.records is None else self.records(rows))

    def work(self, n: int) -> float:
        """Return about how many floating-point operations a call takes."""
        likeness = 0.0 if self.likeness is None else self.likeness.work(n)
        return n * self._work + self.distance.work(n) + likeness
