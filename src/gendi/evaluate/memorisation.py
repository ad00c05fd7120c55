"""Signs that a model remembers its training images: the distances of samples to their nearest training images.

Distances are Euclidean over pixels in [0, 1]. Samples of a model that remembers lie nearer to the training set than
unseen images of the same kind do. A sample counts as a near-copy if it is nearer than all but 1% of the held-out images
are, so 1% of the held-out images are near-copies by construction: that is the floor.

The ratio of the median distances is right at 1. A model that remembers brings it down, and so does one that blurs, as
blurred pictures are near to everything; noise and strange shapes bring it up. So it is read from both sides, against
the range in which as many unseen pictures would lie (`copy_checks`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from gendi.diffusion.randomness import stream
from gendi.evaluate.nearest import Images, nearest_images
from gendi.evaluate.prediction import ALPHA, prediction_interval
from gendi.evaluate.result import Check, Gate, inside
from gendi.machine.stopping import Poll

NEAR_COPY_QUANTILE = 0.01
DEALS = 200


@dataclass(frozen=True)
class Memorisation:
    """Nearest training images of samples and of held-out images."""

    distance: Float64[np.ndarray, " n"]
    """Distance of each sample to its nearest training image."""
    neighbour: Int64[np.ndarray, " n"]
    """Index of that training image."""
    heldout_distance: Float64[np.ndarray, " m"]
    """Distance of each held-out image to its nearest training image."""

    @property
    def ratio(self) -> float:
        """Median distance of samples over that of held-out images; NaN where the latter is 0.

        A ratio well below 1 suggests that the model remembers training images.
        """
        median = float(np.median(self.heldout_distance))
        return float(np.median(self.distance)) / median if median > 0 else float("nan")

    @property
    def threshold(self) -> float:
        """Distance below which an image counts as a near-copy: the held-out images' 1% quantile."""
        return float(np.quantile(self.heldout_distance, NEAR_COPY_QUANTILE))

    @property
    def near_copies(self) -> float:
        """Share of samples nearer than `threshold`, or identical to a training image."""
        return _share(self.distance, self.threshold)

    @property
    def heldout_near_copies(self) -> float:
        """The same share of the held-out images: 1%, up to rounding and ties."""
        return _share(self.heldout_distance, self.threshold)


def memorisation(
    samples: UInt8[np.ndarray, "n height width channels"],
    train: Images,
    heldout: UInt8[np.ndarray, "m height width channels"],
    *,
    mirrored: bool = False,
    poll: Poll | None = None,
) -> Memorisation:
    """Compare samples and held-out images with *all* training images; `poll` is called between blocks of these.

    With `mirrored` they are also compared with the mirror images, which a model that was trained with flips saw too.
    """
    distance, neighbour = _nearest_of(samples, train, mirrored, poll)
    heldout_distance, _ = _nearest_of(heldout, train, mirrored, poll)
    return Memorisation(distance, neighbour, heldout_distance)


def copy_checks(
    distance: Float64[np.ndarray, " n"], heldout: Float64[np.ndarray, " m"], near_copies: float | None, seed: int = 0
) -> dict[str, Check]:
    """Return the checks of `nearest-train-ratio` and `near-copies`: their ranges for n unseen pictures, and copies.

    The medians of n unseen pictures are those of n draws from m held-out ones, which vary sqrt(1 + n / m) times as far
    around the median of all. If the held-out pictures below the threshold are k of m, the share of all unseen pictures
    below it has the distribution Beta(k, m + 1 - k), and the number among n of them is beta-binomial. The ratio has no
    check where the median of the held-out distances is 0.
    """
    from scipy.stats import betabinom

    n, m, median = len(distance), len(heldout), float(np.median(heldout))
    k = max(1, round(_share(heldout, float(np.quantile(heldout, NEAR_COPY_QUANTILE))) * m))
    most = float(betabinom.ppf(1 - ALPHA / 2, n, k, m + 1 - k)) / n
    out = {"near-copies": _check(n, near_copies, (None, most), 1.0)}
    if median > 0:
        rng = stream(seed, "nearest training images")
        medians = [float(np.median(heldout[rng.integers(0, m, n)])) / median for _ in range(DEALS)]
        low, high = prediction_interval(medians, ALPHA / 4, float(np.sqrt(1 + n / m)), max(1, m - 1))
        out["nearest-train-ratio"] = _check(n, float(np.median(distance)) / median, (max(low, 0.0), high), 0.0)
    return out


def _check(n: int, value: float | None, gate: Gate, copies: float) -> Check:
    return Check(n, value, gate, {"copies": copies}, ("copies",) if inside(copies, gate) else ())


def _nearest_of(
    queries: UInt8[np.ndarray, "n height width channels"],
    train: Images,
    mirrored: bool,
    poll: Poll | None,
) -> tuple[Float64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """Return the distances and indices of `nearest_images`.

    With `mirrored`, the nearer of a training image and its mirror image counts.
    """
    distance, index = (found[:, 0] for found in nearest_images(queries, train, poll=poll))
    if not mirrored:
        return distance, index
    other, place = (found[:, 0] for found in nearest_images(queries[:, :, ::-1], train, poll=poll))
    return np.minimum(distance, other), np.where(other < distance, place, index)


def _share(distance: np.ndarray, threshold: float) -> float:
    return float(((distance < threshold) | (distance == 0)).mean())
