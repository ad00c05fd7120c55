"""Noise on training rows, so that a network cannot learn the rows of a small table by heart: a smoothed bootstrap.

    r' = (r + h S^(1/2) e) / sqrt(1 + h^2),   e standard normal, drawn anew for every row of every batch

Training rows stand for the distribution that they came from. There are few of them, and a network that trains for long
enough draws them again. Rows with noise never come back, so what is learned is their distribution with a kernel of
width h, shrunk so that the covariance stays as it is [Silverman and Young 1987, the shrunken smoothed bootstrap].

Some coordinates d of a row have no noise, since there is nothing between their values: words, gaps, and columns of few
values (`gendi.data.codec.Codec.steady`). For the others c, r = z_c - E[z_c | z_d] is what these do not tell of them, by
a linear regression on the training rows with a little ridge, and S its covariance. So a row is moved among the rows of
its class, and not towards the middle of all rows. Without such coordinates, r is the row and S the covariance of rows.

Any kind of data whose rows in model space are vectors of numbers can use this: it is a matter of `train.smoothing`.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from gendi.data import Data
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError

FEW = 500
"""Tables of fewer training rows have noise, unless the user says otherwise."""
BY_ROWS = -1.0
"""The value of `train.smoothing` that stands for the width by the number of rows."""


def by_rows(width: float, data: Data) -> float:
    """Return a width, where `BY_ROWS` is replaced by the width for the number of training rows.

    That is 0 for pictures and tokens, whose codec is known before it is fitted.
    """
    if width != BY_ROWS:
        return width
    return 0.0 if data.codec is not None and not has_vectors(data) else width_for(len(data.train))


def width_for(rows: int) -> float:
    """Return the width h for so many training rows: that of `silverman` for fewer than `FEW` rows, and 0 for more."""
    return silverman(rows) if rows < FEW else 0.0


def silverman(rows: int) -> float:
    """Return 0.9 rows^(-1/5), the rule of thumb for a column of variance 1, to three decimals.

    The factor is the one advised where the distribution may be no normal one.  [Silverman 1986, eq. 3.31]
    """
    return float(round(0.9 * rows**-0.2, 3))


def has_vectors(data: Data) -> bool:
    """Return whether the rows of data with a codec are vectors of numbers in model space."""
    codec = data.fitted
    return codec.half_bin is None and codec.tokens is None and len(codec.shape) == 1


class Smoothing:
    """Adds the noise.

    Args:
        data: prepared data.
        width: h; `BY_ROWS` has been replaced.
        seed: the seed of the run.
        rows: returns training rows in model space (N, D); it is called if there is noise.

    Raises:
        UsageError: a width above 0 for data that are no vectors of numbers.
    """

    def __init__(self, data: Data, width: float, seed: int, rows: Callable[[], Tensor]) -> None:
        self.width, self.seed = width, seed
        self.coordinates = 0
        """How many coordinates have noise."""
        if not width:
            return
        if not has_vectors(data):
            raise UsageError(
                f"train.smoothing = {width:g} is noise on rows of numbers, such as tables, and {data.name} has none: "
                "leave it out."
            )
        axes, kept = data.fitted.steady() or (torch.eye(data.fitted.shape[0]), ())
        x, axes = rows().double(), axes.double()
        self.mean = x.mean(0)
        self.kept, self.noise = moves((x - self.mean) @ axes, list(kept), width)
        inverse = torch.linalg.inv(axes)
        self.kept, self.noise = axes @ self.kept @ inverse, self.noise @ inverse
        self.coordinates = len(self.noise)

    def in_words(self, rows: int) -> str:
        """Return what a run of so many training rows says of it before its first step; empty without noise."""
        if not self.coordinates:
            return ""
        return (
            f"noise of {self.width:g} standard deviations is added to the {rows:,} rows, other noise each time, so "
            "that the network does not learn them by heart: --train.smoothing 0 leaves it out"
        )

    def __call__(self, x: Tensor, step: int, part: slice, batch: int) -> Tensor:
        """Return rows x (b, D) of a batch, of which they are a `part`, with the noise of this step."""
        if not self.coordinates:
            return x
        drawn = stream(self.seed, "smoothing", step).standard_normal((batch, self.coordinates), dtype="float32")[part]
        mean, kept, noise = (each.to(x) for each in (self.mean, self.kept, self.noise))
        return mean + (x - mean) @ kept + torch.from_numpy(drawn).to(x) @ noise


def moves(
    z: Float[Tensor, "n d"], steady: list[int], width: float
) -> tuple[Float[Tensor, "d d"], Float[Tensor, "c d"]]:
    """Return M and N with which a centred row z becomes z M + e N; see the module's docstring.

    Args:
        z: centred training rows, float64.
        steady: the coordinates without noise.
        width: h.
    """
    n, size = z.shape
    moving = [k for k in range(size) if k not in set(steady)]
    covariance, shrunk = z.T @ z / n, 1 / math.sqrt(1 + width**2)
    among = covariance[steady][:, steady]
    ridge = len(steady) / n * torch.eye(len(steady), dtype=z.dtype)
    slopes = torch.linalg.solve(among + ridge, covariance[steady][:, moving]) if steady else z.new_zeros(0, len(moving))
    rest = z[:, moving] - z[:, steady] @ slopes
    values, vectors = torch.linalg.eigh(rest.T @ rest / n)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    kept, noise = torch.eye(size, dtype=z.dtype), z.new_zeros(len(moving), size)
    at = torch.tensor(moving, dtype=torch.int64)
    kept[at, at] = shrunk
    kept[torch.tensor(steady, dtype=torch.int64)[:, None], at] = slopes * (1 - shrunk)
    noise[:, at] = width * shrunk * root
    return kept, noise
