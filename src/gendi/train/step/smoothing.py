"""Noise on training rows, so that a network cannot learn the rows of a small table by heart: a smoothed bootstrap.

    x' = (x + h e) / sqrt(1 + h^2),   e standard normal, drawn anew for every row of every batch

Training rows stand for the distribution that they came from. There are few of them, and a network that trains for long
enough draws them again. Rows with noise never come back, so what is learned is their distribution with a Gaussian
kernel of width h, shrunk so that mean 0 and covariance 1 stay as they are [Silverman and Young 1987, the shrunken
smoothed bootstrap]. Codecs of tables give rows with these moments, so no correlation of scores changes. Coordinates of
words are points and stay so (`gendi.diffusion.gaussian.points`).

Any kind of data whose rows in model space are vectors of numbers with mean 0 and covariance 1 can use this: it is a
matter of `train.smoothing` alone.
"""

import math

import torch
from torch import Tensor

from gendi.data import Data
from gendi.diffusion.gaussian.points import PointPosterior
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError

FEW = 1000
"""Tables of fewer training rows have noise, unless the user says otherwise."""
BY_ROWS = -1.0
"""The value of `train.smoothing` that stands for the width by the number of rows."""


def by_rows(width: float, data: Data) -> float:
    """Return a width, where `BY_ROWS` is replaced by the width for the number of training rows.

    That is 0 for pictures and tokens, whose codec is known before it is fitted.
    """
    if width != BY_ROWS:
        return width
    return 0.0 if data.codec is not None and smooth_coordinates(data) is None else width_for(len(data.train))


def width_for(rows: int) -> float:
    """Return the width h for so many training rows: 0.9 rows^(-1/5) for fewer than `FEW` rows, and 0 for more.

    That is Silverman's rule of thumb for a column of variance 1, with the factor that he advises where the distribution
    may be no normal one.  [Silverman 1986, eq. 3.31]
    """
    return round(0.9 * rows**-0.2, 3) if rows < FEW else 0.0


def smooth_coordinates(data: Data) -> int | None:
    """Return how many coordinates of a row in model space, the first ones, can have noise: all but those of words.

    Return None for data whose rows are no vectors of numbers, such as pictures.
    """
    codec = data.fitted
    if codec.half_bin is not None or codec.tokens is not None or len(codec.shape) != 1:
        return None
    points = codec.point_posterior()
    return codec.shape[0] - (points.dimensions if isinstance(points, PointPosterior) else 0)


class Smoothing:
    """Adds the noise.

    Args:
        data: prepared data.
        width: h; `BY_ROWS` has been replaced.
        seed: the seed of the run.

    Raises:
        UsageError: a width above 0 for data that are no vectors of numbers.
    """

    def __init__(self, data: Data, width: float, seed: int) -> None:
        coordinates = smooth_coordinates(data) if width else 0
        if coordinates is None:
            raise UsageError(
                f"train.smoothing = {width:g} is noise on rows of numbers, such as tables, and {data.name} has none: "
                "leave it out."
            )
        self.width, self.seed, self.coordinates = width, seed, coordinates

    def in_words(self, rows: int) -> str:
        """Return what a run of so many training rows says of it before its first step; empty without noise."""
        if not self.width or not self.coordinates:
            return ""
        return (
            f"each time that one of the {rows:,} rows is seen it has other noise, {self.width:g} of its standard "
            "deviation, so that the network does not learn them by heart: --train.smoothing 0 leaves it out"
        )

    def __call__(self, x: Tensor, step: int, part: slice, batch: int) -> Tensor:
        """Return rows x (b, D) of a batch, of which they are a `part`, with the noise of this step."""
        if not self.width or not self.coordinates:
            return x
        own = slice(self.coordinates)
        drawn = stream(self.seed, "smoothing", step).standard_normal((batch, self.coordinates), dtype="float32")[part]
        noise = torch.from_numpy(drawn).to(x)
        smooth = (x[:, own] + self.width * noise) / math.sqrt(1 + self.width**2)
        return torch.cat([smooth, x[:, self.coordinates :]], dim=1)
