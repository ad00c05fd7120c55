"""Worlds where the optimal denoiser is a formula: one Gaussian, and a mixture of Gaussians.

For x_0 ~ N(m, C) the pair (x_0, x_t) is jointly Gaussian, so with S_t = alpha^2 C + sigma^2 I

    E[x_0 | x_t] = m + alpha C S_t^-1 (x_t - alpha m),      q(x_t) = N(alpha m, S_t),

and a mixture weighs its components' answers by their responsibilities for x_t. Against these every sampler, loss and
likelihood can be checked, with no network and no training. Everything runs in the dtype of x_t; use float64.
"""

from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.process import PerSample
from gendi.schedule import Schedule


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

    def _components(self, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Return each component's E[x_0 | x_t] (B, K, d) and log(weight * density of x_t) (B, K)."""
        alpha, sigma = (c.reshape(-1, 1, 1) for c in self.schedule(t))
        spread = alpha**2 * self.values + sigma**2  # (B or 1, K, d): eigenvalues of S_t
        centred = torch.einsum("bkd,kde->bke", x_t.double()[:, None] - alpha * self.means, self.vectors)
        shift = torch.einsum("bke,kde->bkd", alpha * self.values / spread * centred, self.vectors)
        log_density = -0.5 * (centred**2 / spread + (2 * torch.pi * spread).log()).sum(-1)
        return self.means + shift, self.weights.log() + log_density

    def __call__(self, x_t: Float[Tensor, " batch d"], t: PerSample, **_: Any) -> Float[Tensor, " batch d"]:
        """Return E[x_0 | x_t], (B, d) in x_t's dtype, for t of shape () or (B,)."""
        x_0, joint = self._components(x_t, t)
        return (joint.softmax(-1)[..., None] * x_0).sum(1).to(x_t.dtype)

    def log_density(self, x_t: Float[Tensor, " batch d"], t: PerSample) -> Float64[Tensor, " batch"]:
        """Return log q(x_t), (B,) float64, in nats."""
        return self._components(x_t, t)[1].logsumexp(-1)

    def variance(self, x_t: Float[Tensor, " batch d"], t: PerSample) -> Float64[Tensor, " batch"]:
        """Return tr Cov[x_0 | x_t], (B,) float64: the least squared error any denoiser can reach at x_t."""
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
