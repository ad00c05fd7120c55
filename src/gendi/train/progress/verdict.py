"""Is a run improving, level, or copying? The rule that answers from a few noisy measurements and their standard errors.

The rule looks at the readings of the last half of the run, at least `FEWEST` and at most `WINDOW` of them:

    improving   the distance falls: the weighted least-squares line through it falls by more than `Z` standard errors
    level       it does not fall, or even rises, and the standard errors are small enough to say so: a fall that they
                would hide (the fall of the line plus `Z` standard errors) is less than the share `WORTH` of what is
                left between the distance and its floor; or nothing is left, as the distance is within `Z` standard
                errors of its floor
    copying     samples are nearer to the training rows than held-out rows are: the train-likeness of the last `RECENT`
                readings is above 1/2 by more than `Z_COPYING` standard errors and by more than `NOTABLE`, which is
                what a fifth of copies bring it to, while the distance is still about the best of the run, or the
                held-out loss rises

Copying comes first, since a model that copies has a small distance. If none of the three holds, it is too early to say.

The samples of all evaluations start from the same noises, so their errors are alike and hardly tilt a line. So the
standard error of a fall is computed from the contributions of each sample (the pseudo-values of the jackknife) to the
whole line. If the readings scatter around the line by more than that, since training itself is noisy, the standard
error is that of their scatter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtrit

from gendi.train.kept.status import Verdict

FEWEST, WINDOW, RECENT = 5, 12, 3
Z, Z_COPYING, NOTABLE, WORTH = 2.0, 3.0, 0.1, 1 / 3


@dataclass(frozen=True)
class Reading:
    """What one evaluation during training found."""

    images: int
    distance: float
    error: float
    """The standard error of the distance."""
    floor: float = 0.0
    """The distance of real held-out rows; 0, its expectation, if there are too few of them."""
    floor_error: float = 0.0
    likeness: float | None = None
    """The train-likeness; None if there are too few held-out rows."""
    likeness_error: float = 0.0
    """The standard deviation of the train-likeness of real rows."""
    heldout: float | None = None
    """The held-out loss; None if it is not finite."""
    parts: tuple[float, ...] = ()
    """The contribution of each sample to the distance; see `gendi.evaluate.gauge.Quantity`."""

    @property
    def looks_copied(self) -> bool:
        """Whether this reading alone shows that the model copies training rows."""
        return self.likeness is not None and _above(self.likeness, self.likeness_error)


def judge(readings: Sequence[Reading], count: int | None = None) -> Verdict | None:
    """Return the verdict on a run, or None if it is too early to say.

    Args:
        readings: the last readings, in their order; `WINDOW` of them are enough.
        count: how many readings the run has had in all, if that is more.
    """
    count = len(readings) if count is None else count
    if len(readings) < FEWEST:
        return None
    window = readings[-min(max(-(-count // 2), FEWEST), WINDOW) :]
    x = np.array([reading.images for reading in window], np.float64)
    distance, error = (np.array([getattr(r, name) for r in window]) for name in ("distance", "error"))
    weights = np.maximum(error, 1e-9 * float(np.abs(distance).max()) + 1e-30) ** -2
    line = _line(x, weights)
    fall, margin = -float(line @ distance), max(Z * _error(line, window), _scatter(x, distance, weights))
    if _copies(window) and (_near_its_best(readings, distance, error) or _rises(x, window)):
        return "copying"
    if fall > margin:
        return "improving"
    mean = weights / weights.sum()
    left = float(mean @ distance) - window[-1].floor
    nothing_left = left < Z * float(np.hypot(_error(mean, window), window[-1].floor_error))
    return "level" if nothing_left or fall + margin < WORTH * left else None


def _line(x: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights (w,) with which values add up to the rise of their least-squares line over all of x."""
    centred = x - (weights * x).sum() / weights.sum()
    return np.asarray(weights * centred * np.ptp(x) / (weights * centred**2).sum())


def _scatter(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return `Z` standard errors of the rise of the line through y (w,), by how y scatters around it.

    As the scatter of a few values is itself uncertain, it is the quantile of Student's distribution that `Z` is of the
    normal one.
    """
    line, mean = _line(x, weights), weights / weights.sum()
    residual = y - mean @ y - (line @ y) * (x - mean @ x) / np.ptp(x)
    variance = float((weights * residual**2).sum()) / (len(x) - 2)
    quantile = float(stdtrit(len(x) - 2, ndtr(Z)))
    return float(quantile * np.sqrt(variance * (line**2 / weights).sum()))


def _error(of: NDArray[np.float64], window: Sequence[Reading]) -> float:
    """Return the standard error of a weighted sum of distances, as far as it comes from the choice of the samples."""
    parts = [reading.parts for reading in window]
    if not all(parts) or len(set(map(len, parts))) > 1:
        return float(np.sqrt(((of * np.array([reading.error for reading in window])) ** 2).sum()))
    each = of @ np.array(parts, np.float64)
    return float(np.std(each, ddof=1) / np.sqrt(len(each)))


def _copies(window: Sequence[Reading]) -> bool:
    recent = [(r.likeness, r.likeness_error) for r in window[-RECENT:] if r.likeness is not None]
    if not recent:
        return False
    # All readings share the held-out rows, so the error of the mean is taken to be that of one reading.
    likeness, error = np.array(recent).mean(axis=0)
    return _above(float(likeness), float(error))


def _above(likeness: float, error: float) -> bool:
    return likeness > 0.5 + max(Z_COPYING * error, NOTABLE)


def _near_its_best(readings: Sequence[Reading], recent: NDArray[np.float64], error: NDArray[np.float64]) -> bool:
    """Return whether the last readings of the distance are not above its smallest by more than chance."""
    best = min(readings, key=lambda reading: reading.distance)
    late, late_error = float(recent[-RECENT:].mean()), float(np.hypot.reduce(error[-RECENT:])) / RECENT
    return late - best.distance < 2 * Z * float(np.hypot(late_error, best.error))


def _rises(x: NDArray[np.float64], window: Sequence[Reading]) -> bool:
    """Return whether the held-out loss rises. Its rows and noises are fixed: its error is that around a line."""
    if any(reading.heldout is None for reading in window):
        return False
    y = np.array([reading.heldout for reading in window], np.float64)
    even = np.ones(len(y))
    return float(_line(x, even) @ y) > _scatter(x, y, even)
