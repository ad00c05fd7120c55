"""One Brownian path per sample, the same for every time grid: with half the step the path stays what it is.

The path W on [0, 1] is a virtual tree. W(0) = 0, W(1) is standard normal, and inside an interval (l, r) of width w
whose ends are known, the Brownian bridge gives

    W(t) = (1 - a) W(l) + a W(r) + sqrt(w a (1 - a)) z,      a = (t - l) / w,  z ~ N(0, 1).      [Levy's construction]

The nodes of the tree are the multiples of 1/2, then 1/4, 1/20, 1/40, 1/200, ..., and halves of those. So the times of
a grid of 20, 50, 100 or 1000 even steps are nodes themselves, and few other nodes need to be known. An interval that
contains several multiples is cut at the middle one.

Each node has one z, drawn at its place (denominator, multiple) in the stream keyed (seed, "brownian", sample). W(t) is
therefore a function of seed, sample and t alone, and only the intervals around the last time are stored. Cutting stops
at the leaves, whose width is 2^-12 of their distance from 0 (so that the small times of a variance-exploding schedule
are resolved as finely as the large ones), or 2^-60.

Inside a leaf the formula is used once more, for any a. W(t) keeps its distribution, and increments between times in
different leaves are independent and exactly Gaussian. Two times in the same leaf would depend on each other, so a grid
as fine as that is refused.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.diffusion.randomness import Places
from gendi.errors import UsageError

FACTORS = (2, 2, 5, 2, 5, 2, 5, 3)
"""The factors from one denominator to the next; after the last one the factor is always 2."""
RELATIVE_LEAF = 2.0**-12
SMALLEST_LEAF = 2.0**-60
BLOCK = 2**14
"""Numbers of a block of rows that are computed together."""
ROUNDING = 1e-14
"""A time whose relative distance from a node is below this is the node, since i / n may be an ulp off."""


def blocks(shape: tuple[int, ...]) -> Iterator[slice]:
    """Yield slices of the rows of an array of `shape`, each of which stays in a core's cache through several passes."""
    rows = max(1, BLOCK // math.prod(shape[1:]))
    for start in range(0, shape[0], rows):
        yield slice(start, start + rows)


class Interval(NamedTuple):
    """The interval from left / n to right / n, and the path at its ends; n is the product of `depth` factors."""

    left: int
    right: int
    n: int
    depth: int
    w_left: NDArray[np.float64]
    w_right: NDArray[np.float64]

    def is_leaf(self) -> bool:
        width = self.right - self.left
        return width == 1 and (width <= RELATIVE_LEAF * self.left or width <= SMALLEST_LEAF * self.n)

    def refined(self) -> "Interval":
        """Return the same interval with the next denominator, so that there are nodes inside."""
        factor = FACTORS[self.depth] if self.depth < len(FACTORS) else 2
        left, right, n = (factor * k for k in self[:3])
        return self._replace(left=left, right=right, n=n, depth=self.depth + 1)

    def bridge(self, place: float, normal: Callable[[slice], NDArray[np.float32]]) -> NDArray[np.float64]:
        """Return W(place / n) given both ends; `normal` draws z of some rows, which may be changed."""
        a = (place - self.left) / (self.right - self.left)
        spread = math.sqrt((self.right - self.left) / self.n * a * (1 - a))
        w = np.empty_like(self.w_left)
        for rows in blocks(w.shape):
            part, left = w[rows], self.w_left[rows]
            np.subtract(self.w_right[rows], left, out=part)
            part *= a
            part += left
            z = normal(rows)
            z *= spread
            part += z
        return w


class BrownianNoise:
    """Standard normal noise for a batch, made of the increments of each sample's own Brownian path.

    Args:
        seed, indices: row j has the path of sample indices[j] of the seed.
        shape: shape of one sample.
        times: (n + 1,), decreasing, in [0, 1]; step k goes from times[k] to times[k + 1].
        device: where the noise is returned.

    Raises:
        UsageError: a step is shorter than 2^-12 of its time.
    """

    def __init__(
        self,
        seed: int,
        indices: Sequence[int],
        shape: tuple[int, ...],
        times: Tensor,
        device: torch.device | str,
    ) -> None:
        self.shape, self.device = shape, device
        self.times: list[float] = times.tolist()
        for t, s in pairwise(self.times):
            if t - s < max(RELATIVE_LEAF * t, SMALLEST_LEAF):
                raise UsageError(
                    f"the Brownian path is resolved to 2^-12 of t: from t = {t:g} to {s:g} is too short a step."
                )
        self._places = [Places(seed, "brownian", i) for i in indices]
        zero = np.zeros((len(self._places), *shape))
        self._around = [Interval(0, 1, 1, 0, zero, self._normal(slice(None), 1, 1).astype(np.float64))]
        """A stack of intervals, each inside the one before it. Each contains the last t, or it is the left half of an
        interval whose right half comes next in the stack."""
        self._last: tuple[float, NDArray[np.float64]] = (0.0, zero)

    def __call__(self, step: int) -> Tensor:
        """Return (W(t) - W(s)) / sqrt(t - s) for the step from t to s, (B, *shape) float32."""
        t, s = self.times[step], self.times[step + 1]
        w_t, w_s, root = self._path(t), self._path(s), math.sqrt(t - s)
        increment = np.empty(w_t.shape, np.float32)
        for rows in blocks(w_t.shape):
            increment[rows] = (w_t[rows] - w_s[rows]) / root
        return torch.from_numpy(increment).to(self.device)

    def path(self, t: float) -> Tensor:
        """Return W(t), (B, *shape) float64 on the CPU, for t in [0, 1]."""
        return torch.from_numpy(self._path(t).copy())

    def _normal(self, rows: slice, n: int, place: int, leaf: bool = False) -> NDArray[np.float32]:
        """Return the z of some rows at the node place / n, or of the leaf that begins there."""
        own = self._places[rows]
        z = np.empty((len(own), *self.shape), np.float32)
        for row, places in zip(z, own, strict=True):
            places(place, n, int(leaf)).standard_normal(out=row, dtype=np.float32)
        return z

    def _path(self, t: float) -> NDArray[np.float64]:
        if t != self._last[0]:
            self._last = (t, self._descend(t))
        return self._last[1]

    def _descend(self, t: float) -> NDArray[np.float64]:
        around = self._around
        while not around[-1].left <= t * around[-1].n <= around[-1].right:
            around.pop()
        while True:
            here = around[-1]
            for place, w in ((here.left, here.w_left), (here.right, here.w_right)):
                if abs(t * here.n - place) <= ROUNDING * place:
                    return w
            if here.is_leaf():
                return here.bridge(t * here.n, partial(self._normal, n=here.n, place=here.left, leaf=True))
            if here.right - here.left == 1:
                here = here.refined()
            middle = (here.left + here.right) // 2
            w = here.bridge(middle, partial(self._normal, n=here.n, place=middle))
            around.append(here._replace(right=middle, w_right=w))  # a falling t comes here after the right half
            if t * here.n > middle * (1 - ROUNDING):
                around.append(here._replace(left=middle, w_left=w))
