"""Worlds where the optimal denoiser is a formula: one Gaussian, and a mixture of Gaussians.

For x_0 ~ N(m, C) the pair (x_0, x_t) is jointly Gaussian, so with S_t = alpha^2 C + sigma^2 I

    E[x_0 | x_t] = m + alpha C S_t^-1 (x_t - alpha m),      q(x_t) = N(alpha m, S_t),

and a mixture weighs its components' answers by their responsibilities for x_t. If its components carry conditions
(classes, doses), the components that carry other conditions than the given ones have no responsibility, and p(c | x_t)
is a formula too. Every sampler, loss, likelihood and guidance rule can be checked against these worlds, without a
network and without training. Everything runs in the dtype of x_t; use float64.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.gaussian.process import Time
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError, unknown_name


class MixtureDenoiser:
    """The exact denoiser of a mixture of K Gaussians in d dimensions.

    Args:
        schedule: the process.
        weights: (K,), positive, summing to 1.
        means: (K, d).
        covariances: (K, d, d), symmetric, positive semi-definite.
    """

    def __init__(
        self,
        schedule: Schedule,
        weights: Float[Tensor, " k"],
        means: Float[Tensor, " k d"],
        covariances: Float[Tensor, " k d d"],
    ) -> None:
        self.schedule = schedule
        self.weights, self.means = weights.double(), means.double()
        # C = U diag(values) U^T diagonalises alpha^2 C + sigma^2 I at every t at once
        self.values, self.vectors = torch.linalg.eigh(covariances.double())
        self.values = self.values.clamp(min=0)

    def _places(self, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return, for each component, x_t from its mean along its principal directions, S_t's eigenvalues, and
        log(weight * density of x_t): (B, K, d), (B or 1, K, d) and (B, K). alpha and sigma are (B or 1, 1, 1)."""
        spread = alpha**2 * self.values + sigma**2
        centred = torch.einsum("bkd,kde->bke", x_t.double()[:, None] - alpha * self.means, self.vectors)
        log_density = -0.5 * (centred**2 / spread + (2 * torch.pi * spread).log()).sum(-1)
        return centred, spread, self.weights.log() + log_density

    def _components(self, x_t: Tensor, t: Time) -> tuple[Tensor, Tensor]:
        """Return each component's E[x_0 | x_t] (B, K, d) and log(weight * density of x_t) (B, K)."""
        alpha, sigma = (c.reshape(-1, 1, 1) for c in self.schedule(t))
        centred, spread, joint = self._places(x_t, alpha, sigma)
        shift = torch.einsum("bke,kde->bkd", alpha * self.values / spread * centred, self.vectors)
        return self.means + shift, joint

    def at_level(
        self, x: Float[Tensor, " batch d"], alpha: Float64[Tensor, " *times"], sigma: Float64[Tensor, " *times"]
    ) -> tuple[Float64[Tensor, " batch d"], Float64[Tensor, " batch d"]]:
        """Return E[x_0 | x] and E[eps | x] for x = alpha x_0 + sigma eps, float64, by formula even where sigma is 0.

        alpha and sigma are () or (B,), and need not be those of a time of the schedule. With sigma = 0 the covariances
        must be positive definite.
        """
        alpha, sigma = alpha.reshape(-1, 1, 1), sigma.reshape(-1, 1, 1)
        centred, spread, joint = self._places(x, alpha, sigma)
        share = joint.softmax(-1)[..., None]
        shift, eps = (
            (share * torch.einsum("bke,kde->bkd", gain * centred, self.vectors)).sum(1)
            for gain in (alpha * self.values / spread, sigma / spread)
        )
        return (share * self.means).sum(1) + shift, eps

    def __call__(self, x_t: Float[Tensor, " batch d"], t: Time, /, **_: Any) -> Float[Tensor, " batch d"]:
        """Return E[x_0 | x_t], (B, d) in x_t's dtype, for t of shape () or (B,)."""
        x_0, joint = self._components(x_t, t)
        return (joint.softmax(-1)[..., None] * x_0).sum(1).to(x_t.dtype)

    def log_density(self, x_t: Float[Tensor, " batch d"], t: Time, /) -> Float64[Tensor, " batch"]:
        """Return log q(x_t), (B,) float64, in nats."""
        return self._components(x_t, t)[1].logsumexp(-1)

    def variance(self, x_t: Float[Tensor, " batch d"], t: Time) -> Float64[Tensor, " batch"]:
        """Return tr Cov[x_0 | x_t], (B,) float64: the least mean squared error that a denoiser can reach at x_t."""
        alpha, sigma = (c.reshape(-1, 1, 1) for c in self.schedule(t))
        x_0, joint = self._components(x_t, t)
        share = joint.softmax(-1)
        within = (self.values * sigma**2 / (alpha**2 * self.values + sigma**2)).sum(-1)
        mean = (share[..., None] * x_0).sum(1)
        total: Tensor = (share * (within + (x_0 - mean[:, None]).pow(2).sum(-1))).sum(-1)
        return total

    def sample_data(
        self, uniform: Float[Tensor, " batch"], normal: Float[Tensor, " batch d"]
    ) -> Float64[Tensor, " batch d"]:
        """Return data (B, d) from uniforms (B,) that pick the component and standard normals (B, d)."""
        k = torch.searchsorted(self.weights.cumsum(0), uniform.double()).clamp(max=len(self.weights) - 1)
        scaled = normal.double() * self.values[k].sqrt()
        return self.means[k] + torch.einsum("be,bde->bd", scaled, self.vectors[k])


class GaussianDenoiser(MixtureDenoiser):
    """The exact denoiser of one Gaussian N(mean (d,), covariance (d, d))."""

    def __init__(self, schedule: Schedule, mean: Float[Tensor, " d"], covariance: Float[Tensor, " d d"]) -> None:
        super().__init__(schedule, torch.ones(1), mean[None], covariance[None])


class ConditionalMixture(MixtureDenoiser):
    """The exact conditional denoiser E[x_0 | x_t, c] of a mixture whose components carry conditions.

    A null row (-1 in an integer condition, NaN in a float one) and an absent condition exclude no component.

    Args:
        schedule, weights, means, covariances: see `MixtureDenoiser`.
        conditions: the condition of each component, by name: (K,) int64 classes or float values.

    Raises:
        UsageError: a condition is not of shape (K,); in a call, a name is unknown or no component carries a value.
    """

    def __init__(
        self,
        schedule: Schedule,
        weights: Float[Tensor, " k"],
        means: Float[Tensor, " k d"],
        covariances: Float[Tensor, " k d d"],
        conditions: Mapping[str, Tensor],
    ) -> None:
        super().__init__(schedule, weights, means, covariances)
        for name, values in conditions.items():
            if values.shape != self.weights.shape:
                raise UsageError(f"condition {name!r} has shape {tuple(values.shape)} for {len(weights)} components.")
        self.conditions = dict(conditions)

    def _prior(self, cond: Mapping[str, Tensor]) -> Tensor:
        """Return log p(k | c) - log p(k), (B or 1, K): -inf for components that do not carry the conditions."""
        carried = torch.ones(1, len(self.weights), dtype=torch.bool)
        for name, values in cond.items():
            if name not in self.conditions:
                raise unknown_name("condition", name, self.conditions)
            null = values.isnan() if values.is_floating_point() else values < 0
            carried = carried & ((values[:, None] == self.conditions[name]) | null[:, None])
        if not bool(carried.any(1).all()):
            given = {name: values[~carried.any(1)][0].item() for name, values in cond.items()}
            raise UsageError(f"no component of the mixture carries {given}.")
        inside = carried.double()
        return inside.log() - (inside @ self.weights).log()[:, None]

    def __call__(self, x_t: Float[Tensor, " batch d"], t: Time, /, **cond: Tensor) -> Float[Tensor, " batch d"]:
        """Return E[x_0 | x_t, c], (B, d) in x_t's dtype, for t of shape () or (B,) and conditions (B,) by name."""
        x_0, joint = self._components(x_t, t)
        return ((joint + self._prior(cond)).softmax(-1)[..., None] * x_0).sum(1).to(x_t.dtype)

    def log_density(self, x_t: Float[Tensor, " batch d"], t: Time, /, **cond: Tensor) -> Float64[Tensor, " batch"]:
        """Return log q(x_t | c), (B,) float64, in nats."""
        return (self._components(x_t, t)[1] + self._prior(cond)).logsumexp(-1)

    def log_posterior(
        self, x_t: Float[Tensor, " batch d"], t: Time, name: str = "class"
    ) -> Float64[Tensor, " batch classes"]:
        """Return log p(c | x_t) of the classes 0, 1, ... of the condition `name`: the exact noise-aware classifier."""
        joint = self._components(x_t, t)[1]
        classes = torch.arange(int(self.conditions[name].max()) + 1)
        carried = (self.conditions[name] == classes[:, None]).double().log()  # (classes, K)
        return (joint[:, None] + carried).logsumexp(-1) - joint.logsumexp(-1)[:, None]
