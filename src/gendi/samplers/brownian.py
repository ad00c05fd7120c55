"""One Brownian path per sample, which any time grid reads off: halve the step and the path stays.

W on [0, 1] is a virtual tree. W(0) = 0, W(1) is standard normal, and inside a dyadic interval (l, r) of width w whose
ends are known, a Brownian bridge has

    W(t) = (1 - a) W(l) + a W(r) + sqrt(w a (1 - a)) z,      a = (t - l) / w,  z ~ N(0, 1).      [Levy's construction]

With a = 1/2 this halves the interval, and with one z per interval, drawn from the stream keyed (seed, "brownian",
interval, sample), W(t) is a function of seed, sample and t alone: nothing is stored but the intervals around the last
time. Halving stops at the leaves, which are 2^-12 of their distance from 0 wide (so that the small times of a
variance-exploding schedule are as finely resolved as the large ones), or 2^-60. In a leaf the same formula is used
once, for any a: W(t) keeps its law, and increments between times in different leaves are independent and exactly
Gaussian. Two times in one leaf would know too much of each other, so a grid that fine is refused.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.errors import UsageError
from gendi.randomness import stream

RELATIVE_LEAF = 2.0**-12
SMALLEST_LEAF = 2.0**-60


class Interval(NamedTuple):
    """A dyadic interval, the path at its ends, and its number in the tree: the root is 1, the halves of i 2i and
    2i + 1.
    """

    left: float
    right: float
    w_left: NDArray[np.float64]
    w_right: NDArray[np.float64]
    number: int

    def is_leaf(self) -> bool:
        width = self.right - self.left
        return width <= RELATIVE_LEAF * self.left or width <= SMALLEST_LEAF

    def bridge(self, t: float, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return W(t) given both ends."""
        width = self.right - self.left
        a = (t - self.left) / width
        return np.asarray((1 - a) * self.w_left + a * self.w_right + math.sqrt(width * a * (1 - a)) * z)


class BrownianNoise:
    """Standard normal noise for a batch, made of the increments of each sample's own Brownian path.

    Args:
        seed, indices: row j reads the path of sample indices[j].
        shape: shape of one sample.
        times: (n + 1,), decreasing, in [0, 1]: step k goes from times[k] to times[k + 1].
        device: where the noise is wanted.

    Raises:
        UsageError: a step below 2^-12 of its time.
    """

    def __init__(
        self,
        seed: int,
        indices: Sequence[int],
        shape: tuple[int, ...],
        times: Tensor,
        device: torch.device | str,
    ) -> None:
        self.seed, self.indices, self.shape, self.device = seed, list(indices), shape, device
        self.times: list[float] = times.tolist()
        for t, s in pairwise(self.times):
            if t - s < max(RELATIVE_LEAF * t, SMALLEST_LEAF):
                raise UsageError(
                    f"the Brownian path is resolved to 2^-12 of t: from t = {t:g} to {s:g} is too short a step."
                )
        zero = np.zeros((len(self.indices), *shape))
        self._around = [Interval(0.0, 1.0, zero, zero + self._normal(0), 1)]  # nested, around the last time
        self._last: tuple[float, NDArray[np.float64]] = (0.0, zero)

    def __call__(self, step: int) -> Tensor:
        """Return (W(t) - W(s)) / sqrt(t - s) for the step from t to s, (B, *shape) float32."""
        t, s = self.times[step], self.times[step + 1]
        increment = self._path(t) - self._path(s)
        return torch.from_numpy((increment / math.sqrt(t - s)).astype(np.float32)).to(self.device)

    def path(self, t: float) -> Tensor:
        """Return W(t), (B, *shape) float64 on the CPU, for t in [0, 1]."""
        return torch.from_numpy(self._path(t).copy())

    def _normal(self, number: int) -> NDArray[np.float64]:
        """Return the z of an interval; number 0 stands for W(1)."""
        rows = [stream(self.seed, "brownian", number, i).standard_normal(self.shape, np.float32) for i in self.indices]
        return np.stack(rows).astype(np.float64)

    def _path(self, t: float) -> NDArray[np.float64]:
        if t != self._last[0]:
            self._last = (t, self._descend(t))
        return self._last[1]

    def _descend(self, t: float) -> NDArray[np.float64]:
        around = self._around
        while not around[-1].left <= t <= around[-1].right:
            around.pop()
        while True:
            here = around[-1]
            if t in (here.left, here.right):
                return here.w_left if t == here.left else here.w_right
            if here.is_leaf():
                return here.bridge(t, self._normal(here.number))
            middle = (here.left + here.right) / 2
            w = here.bridge(middle, self._normal(here.number))
            if t < middle:
                around.append(Interval(here.left, middle, here.w_left, w, 2 * here.number))
            else:
                around.append(Interval(middle, here.right, w, here.w_right, 2 * here.number + 1))
