"""Drawing x_0 of which some linear scores are known, exactly or within bounds: low <= z <= high, z = x_0 axes.

A score is free (bounds at infinity), known (low = high) or lies between two numbers, such as those of a category. Each
row has bounds of its own. Let y = x_0 + eta n be data with noise, eta = sigma / alpha, and let C be the set of vectors
that keep the bounds. At a noise level eta, two steps in turn are a Gibbs sampler of p(x) N(y; x, eta^2 I) [y in C]:

    x | y ~ p(x_0 | y), nearly N(E[x_0 | y], v I),  v = eta^2 / (1 + eta^2)
    y | x ~ N(x, eta^2 I), restricted to C

so y has the distribution of data with noise, given that it lies in C. Over falling levels, with a pair of steps at
each, this becomes the distribution of the data given that they lie in C; in every state the bounds hold exactly, and no
gradient of the denoiser is needed. v is exact for x_0 ~ N(m, I), which is how the codec of tables makes a Gaussian
copula; groups of coordinates that are points are drawn by the distribution that has their mean, which is exact too; for
other data the error vanishes with the level. What remains is that the levels fall too fast: between modes far apart, of
which the known scores leave one, some draws stay in the wrong one. More levels make it smaller.
[split Gibbs sampling: Vono et al. 2019; with a denoiser: Wu et al. 2024, Xu & Chi 2024]

The second step is exact. With R = axes^T axes, z has the covariance eta^2 R around x axes. The scores with bounds are
drawn one after the other, each from a normal distribution restricted to an interval, given the others; then the free
scores are drawn given those, at once.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from gendi.diffusion.conditions import Conditions, take
from gendi.diffusion.gaussian.conditioned import conditioned
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.points import with_drawn_points
from gendi.diffusion.gaussian.samplers.checked import checked
from gendi.diffusion.gaussian.samplers.draw import SampleNoise, draw
from gendi.diffusion.gaussian.samplers.drawing import Drawing
from gendi.diffusion.gaussian.samplers.grid import make_grid
from gendi.diffusion.gaussian.samplers.state import State
from gendi.errors import UsageError
from gendi.machine.stopping import Poll

LEVELS = 200
"""How many noise levels there are unless somebody says otherwise."""
HIGHEST = 5.0
"""sigma / alpha of the first level: the noise there hides all but mean and variance of the data."""
TAIL = 8.0
"""Beyond so many standard deviations, a normal distribution restricted to an interval is all at its nearer end."""


@dataclass(frozen=True)
class Box:
    """The bounds of scores z = x axes, row by row, and what it takes to draw within them.

    Attributes:
        axes: (D, D), of full rank.
        low, high: (n, D), low <= high.
        which: (n,): the number of each row's pattern of scores that have bounds.
        gain: (P, D, D): by pattern, the shift of all scores for a shift of those with bounds.
        precision: (P, D, D): by pattern, the inverse of the covariance of the scores with bounds; 1 for free ones.
        points: the points of groups of coordinates, the last ones of x (`gendi.diffusion.gaussian.points`).
    """

    axes: Float64[Tensor, "d d"]
    low: Float64[Tensor, "n d"]
    high: Float64[Tensor, "n d"]
    which: Int64[Tensor, " n"]
    gain: Float64[Tensor, "p d d"]
    precision: Float64[Tensor, "p d d"]
    points: tuple[Tensor, ...] = ()

    @classmethod
    def of(
        cls,
        axes: Float64[Tensor, "d d"],
        low: Float64[Tensor, "n d"],
        high: Float64[Tensor, "n d"],
        points: Sequence[Tensor] = (),
    ) -> Self:
        """Return the box of bounds. Raises `UsageError` where a lower bound is not at most the upper one."""
        if not bool((low <= high).all()):
            raise UsageError("every lower bound of a score must be a number that is at most its upper bound.")
        patterns, which = torch.unique(_bounded(low, high), dim=0, return_inverse=True)
        covariance, one = axes.T @ axes, torch.eye(len(axes), dtype=axes.dtype)
        precision = torch.linalg.inv(torch.where(patterns[:, :, None] & patterns[:, None, :], covariance, one))
        gain = torch.where(patterns[:, :, None], precision, 0) @ covariance
        return cls(axes, low, high, which, gain, precision, tuple(points))

    def rows(self, part: slice) -> "Box":
        """Return the box of some rows."""
        return self.some(torch.arange(len(self.low))[part])

    def some(self, part: Int64[Tensor, " m"]) -> "Box":
        """Return the box of the rows of some numbers."""
        return dataclasses.replace(self, low=self.low[part], high=self.high[part], which=self.which[part])

    def start(self) -> Float64[Tensor, "n d"]:
        """Return scores within the bounds: the numbers nearest to 0."""
        return torch.zeros_like(self.low).clamp(self.low, self.high)

    def project(self, z: Float64[Tensor, "n d"], inside: Float64[Tensor, "n d"]) -> Float64[Tensor, "n d"]:
        """Return z with the scores that have bounds moved to `inside`, and the free ones moved as these carry them.

        If z has the covariance R = axes^T axes up to a factor, the result is a draw given the scores with bounds.
        """
        bounded = _bounded(self.low, self.high)
        moved = z + torch.einsum("nd,nde->ne", torch.where(bounded, inside - z, 0), self.gain[self.which])
        return torch.where(bounded, inside, moved)

    def inside(self, z: Tensor, mean: Tensor, std: float, uniform: Tensor) -> Float64[Tensor, "n d"]:
        """Return z with each score between two bounds drawn anew, given the others with bounds, from N(mean, std^2 R).

        Args:
            z: scores within the bounds, (n, D).
            mean: (n, D).
            std: a factor of the standard deviations.
            uniform: uniform draws (n, D).
        """
        z, bounded, between = z.clone(), _bounded(self.low, self.high), self.low < self.high
        precision = self.precision[self.which]
        for j in (bounded & between).any(0).nonzero()[:, 0].tolist():
            mine = bounded[:, j] & between[:, j]
            p, away = precision[mine, j], torch.where(bounded[mine], (z - mean)[mine], 0)
            centre = mean[mine, j] + away[:, j] - (p * away).sum(1) / p[:, j]
            bounds = self.low[mine, j], self.high[mine, j]
            z[mine, j] = truncated_normal(centre, std / p[:, j].sqrt(), *bounds, uniform[mine, j])
        return z


def _bounded(low: Tensor, high: Tensor) -> Tensor:
    return (low > -torch.inf) | (high < torch.inf)


def truncated_normal(mean: Tensor, std: Tensor, low: Tensor, high: Tensor, uniform: Tensor) -> Tensor:
    """Return the quantiles `uniform` of N(mean, std^2) restricted to [low, high]; all arguments are (n,)."""
    a, b = (low - mean) / std, (high - mean) / std
    flip = a > 0  # the upper tail is the lower one mirrored, where differences of tiny probabilities are exact
    uniform = torch.where(flip, 1 - uniform, uniform)
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    first, last = torch.special.ndtr(a), torch.special.ndtr(b)
    v = torch.special.ndtri(first + uniform * (last - first))
    v = torch.where(b < -TAIL, b, v)
    x = mean + std * torch.where(flip, -v, v)
    return torch.minimum(torch.maximum(x, low), high)


def in_box(
    denoiser: Denoiser,
    box: Box,
    how: Drawing,
    *,
    cond: Conditions | None = None,
    poll: Poll | None = None,
) -> Float64[Tensor, " n d"]:
    """Return one draw of x_0 (n, D) for each row of a box, float64, whose scores keep the bounds.

    Args:
        denoiser: E[x_0 | x_t] of vectors (n, D).
        box: the bounds.
        how: `steps` noise levels down to `bounds[0]`, `seed`, `first_index`, `batch_size`, `device`; no sampler is
            used, and each level takes one network call.
        cond: conditions, n rows each.
        poll: called after every network call; raise from it to stop.

    Raises:
        UsageError: steps below 1, or a denoiser that returns another shape.
        DivergedError: a denoiser that returns NaN or infinity.
    """
    if how.steps < 1:
        raise UsageError(f"steps = {how.steps} is out of range: drawing needs 1 noise level or more.")
    out = torch.empty_like(box.low)

    def work(rows: slice) -> Iterator[State]:
        told = conditioned(denoiser, take(cond, rows, how.device))
        noise = SampleNoise(how.seed, how.indices(rows), (3, box.axes.shape[0]), "cpu")
        for state in _descent(checked(told, "box", poll), box.rows(rows), how, noise):
            out[rows] = state.x
            yield state

    draw(len(box.low), how, work)
    return out


def _descent(denoiser: Denoiser, box: Box, how: Drawing, noise: SampleNoise) -> Iterator[State]:
    """Yield the state after each level; its x is y, and at last E[x_0 | y] brought into the box."""
    inverse = torch.linalg.inv(box.axes)
    times = make_grid(denoiser.schedule, how.steps + 1, "log-snr", (how.bounds[0], HIGHEST))[1:-1]
    z, (x, *_) = box.start(), noise(0).double().unbind(1)  # x as if the data were N(0, I)
    for t in times:
        alpha, sigma = (float(c) for c in denoiser.schedule(t))
        eta = sigma / alpha
        n_x, n_y, n_z = noise(0).double().unbind(1)
        mean = x @ box.axes
        inside = box.inside(z, mean, eta, torch.special.ndtr(n_z))
        z = box.project(mean + eta * n_y @ box.axes, inside)
        x_0 = denoiser((alpha * z @ inverse).float().to(how.device), t).double().cpu()
        x = with_drawn_points(x_0 + eta / math.sqrt(1 + eta**2) * n_x, x_0, box.points, torch.special.ndtr(n_x))
        yield State(t, t, z @ inverse, x_0)
    mean = x_0 @ box.axes
    yield State(t, t, box.project(mean, mean.clamp(box.low, box.high)) @ inverse, x_0)
