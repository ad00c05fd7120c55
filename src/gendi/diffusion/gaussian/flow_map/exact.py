"""Exact flow maps: of one Gaussian by formula, and of a mixture of Gaussians by the ODE.

For x_0 ~ N(m, C) the ODE keeps the place of x_t within its distribution N(alpha_t m, S_t), S_t = alpha_t^2 C +
sigma_t^2 I, in units of the standard deviation along each principal direction:

    x_s = alpha_s m + S_s^(1/2) S_t^(-1/2) (x_t - alpha_t m)

A mixture has no such formula. Its ODE is solved in the angle theta = arctan(sigma / alpha),

    z = x / sqrt(alpha^2 + sigma^2),    dz / dtheta = cos(theta) eps_hat - sin(theta) x0_hat,

with both answers by formula, so that theta = 0, where there is no noise, is an ordinary point.
"""

from typing import Any

import torch
from torch import Tensor

from gendi.diffusion.gaussian.dormand_prince import Place, solve
from gendi.diffusion.gaussian.exact import GaussianDenoiser, MixtureDenoiser
from gendi.diffusion.gaussian.flow_map.angle import angle_at
from gendi.diffusion.gaussian.process import Batch, Time, like
from gendi.diffusion.gaussian.schedule import as_times

FIRST = 1e-3
"""The first step of the solver, in radians."""


class GaussianFlow:
    """The exact flow map of one Gaussian, beside its denoiser. It is computed in float64.

    Args:
        gaussian: the Gaussian; its covariance must be positive definite for paths that begin at t = 0.
    """

    def __init__(self, gaussian: GaussianDenoiser) -> None:
        self.denoiser, self.schedule = gaussian, gaussian.schedule

    def __call__(self, x_t: Batch, t: Time, /, **cond: Any) -> Batch:
        """Return the consistency function f(x_t, t), the x_0 from which x_t comes, of x_t's shape and dtype."""
        return self.move(x_t, t, 0.0)

    def move(self, x_t: Batch, t: Time, s: Time, /, **cond: Any) -> Batch:
        """Return x_s, of x_t's shape (B, d) and dtype, for any two times."""
        mean, values, vectors = self.denoiser.means[0], self.denoiser.values[0], self.denoiser.vectors[0]
        (alpha_t, sigma_t), (alpha_s, sigma_s) = (
            (c.reshape(-1, 1) for c in self.schedule(as_times(time))) for time in (t, s)
        )
        stretch = ((alpha_s**2 * values + sigma_s**2) / (alpha_t**2 * values + sigma_t**2)).sqrt()
        place = (x_t.double() - alpha_t * mean) @ vectors
        x_s: Tensor = alpha_s * mean + (stretch * place) @ vectors.T
        return x_s.to(x_t.dtype)


class MixtureFlow:
    """The flow map of a mixture of Gaussians, by Dormand and Prince's method in float64.

    Args:
        mixture: the mixture; its covariances must be positive definite.
        tolerance: the largest error of a step of the solver, absolute and relative.
    """

    def __init__(self, mixture: MixtureDenoiser, tolerance: float = 1e-11) -> None:
        self.denoiser, self.schedule, self.tolerance = mixture, mixture.schedule, tolerance

    def __call__(self, x_t: Batch, t: Time, /, **cond: Any) -> Batch:
        """Return the consistency function f(x_t, t), the x_0 from which x_t comes, of x_t's shape and dtype."""
        return self.move(x_t, t, 0.0)

    def move(self, x_t: Batch, t: Time, s: Time, /, **cond: Any) -> Batch:
        """Return x_s, of x_t's shape (B, d) and dtype, for any two times."""
        (begin, radius_t), (end, radius_s) = (
            (c.expand(len(x_t)) for c in angle_at(self.schedule, time)) for time in (t, s)
        )
        way = (end - begin).sign()
        z = x_t.double() / like(radius_t, x_t.double())

        def slope(rows: Tensor, position: Tensor, z: Tensor) -> tuple[Tensor, None]:
            return like(way[rows], z) * self._turn(z, begin[rows] + way[rows] * position), None

        start = torch.zeros_like(begin)
        first, _ = slope(torch.arange(len(z)), start, z)
        place = Place(start, z, first, None, torch.full_like(begin, FIRST))
        there = solve(slope, place, (end - begin).abs(), rtol=self.tolerance, atol=self.tolerance)
        return (like(radius_s, there.y) * there.y).to(x_t.dtype)

    def _turn(self, z: Tensor, theta: Tensor) -> Tensor:
        x_0, eps = self.denoiser.at_level(z, theta.cos(), theta.sin())
        return like(theta.cos(), z) * eps - like(theta.sin(), z) * x_0
