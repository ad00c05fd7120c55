"""A denoiser is E[x_0 | x_t]: the only thing a sampler, a likelihood or a guidance rule sees.

Whatever a network predicts, it is converted here, once. Every parameterisation is affine in the network's output F:

    x0_hat = c_skip x_t + c_out F(c_in x_t, time)

    eps    1 / alpha                      -sigma / alpha                       1        [Ho et al. 2020]
    x0     0                              1                                    1
    v      alpha / (alpha^2 + sigma^2)    -sigma / (alpha^2 + sigma^2)         1        [Salimans & Ho 2022]
    EDM    alpha s^2 / (sigma^2 + alpha^2 s^2)    sigma s / sqrt(...)    1 / sqrt(...)  [Karras et al. 2022, table 1]

with s = sigma_data, written for any alpha (Karras et al. have alpha = 1). From x_t = alpha x_0 + sigma eps the training
target of F and the weight of its error follow, so the objective has no branch either.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gendi.config import ObjectiveConfig
from gendi.errors import UsageError, unknown_name
from gendi.process import Batch, PerSample, like
from gendi.schedule import Schedule

PREDICTIONS = ("eps", "x0", "v")


@runtime_checkable
class Denoiser(Protocol):
    """Anything that maps x_t (B, ...) and t () or (B,) to E[x_0 | x_t] under `schedule`, of x_t's shape."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, **cond: Any) -> Tensor: ...


@runtime_checkable
class LearnedVariance(Denoiser, Protocol):
    """A denoiser that also says how sure p(x_s | x_t) should be."""

    def predict(self, x_t: Tensor, t: Tensor, **cond: Any) -> tuple[Tensor, Tensor]:
        """Return E[x_0 | x_t] and the share of `Process.reverse_log_variance`, both of x_t's shape, in one call."""
        ...


@dataclass(frozen=True)
class Coefficients:
    """The affine map of a parameterisation at some times; float64 tensors shaped like the times."""

    c_in: Tensor
    c_skip: Tensor
    c_out: Tensor

    def target(self, x_0: Batch, eps: Batch, alpha: PerSample, sigma: PerSample) -> Batch:
        """Return the F for which x0_hat = x_0: a combination of x_0 and eps (for eps-prediction, eps itself)."""
        of_x0 = (1 - self.c_skip * alpha) / self.c_out
        of_eps = -self.c_skip * sigma / self.c_out
        return like(of_x0, x_0) * x_0 + like(of_eps, x_0) * eps


def coefficients(prediction: str, precondition: bool, sigma_data: float, alpha: Tensor, sigma: Tensor) -> Coefficients:
    """Return the parameterisation's coefficients at (alpha, sigma). Raises `UsageError` for an unknown prediction."""
    one = torch.ones_like(alpha)
    if precondition:
        norm = (sigma**2 + (alpha * sigma_data) ** 2).sqrt()
        return Coefficients(1 / norm, alpha * (sigma_data / norm) ** 2, sigma * sigma_data / norm)
    match prediction:
        case "eps":
            return Coefficients(one, 1 / alpha, -sigma / alpha)
        case "x0":
            return Coefficients(one, 0 * one, one)
        case "v":
            norm = alpha**2 + sigma**2
            return Coefficients(one, alpha / norm, -sigma / norm)
    raise unknown_name("prediction", prediction, PREDICTIONS)


class NetworkDenoiser(nn.Module):
    """A network with its parameterisation. `clip` bounds x0_hat to [-clip, clip]; None leaves it free.

    Args:
        network: maps (c_in x_t (B, ...), time value (B,), labels (B,) int64 or None) to F of x_t's shape.
        schedule: the process the network was trained on.
        objective: names the prediction.
        sigma_data: root mean square of the encoded training data, for EDM's preconditioning.
        time_input: "log-snr" (the network sees c_noise = ln(sigma / alpha) / 4) or "step" (the paper's i = t T).
        precision: "fp32", or "bf16" to run the network (and nothing else) under bf16 autocast.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        objective: ObjectiveConfig,
        sigma_data: float = 1.0,
        time_input: str = "log-snr",
        clip: float | None = None,
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        if time_input == "step" and schedule.steps is None:
            raise UsageError("a network that sees the paper's integer step needs a schedule with steps.")
        self.network, self.schedule, self.objective = network, schedule, objective
        self.sigma_data, self.time_input, self.clip, self.precision = sigma_data, time_input, clip, precision

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> Coefficients:
        """Return the affine map of this denoiser's parameterisation."""
        return coefficients(self.objective.prediction, self.objective.precondition, self.sigma_data, alpha, sigma)

    def time_value(self, t: Tensor) -> Tensor:
        """Return what the network sees of `t`, float32 of t's shape."""
        if self.time_input == "step":
            assert self.schedule.steps is not None
            return (t.double() * self.schedule.steps).float()
        return (self.schedule.log_snr(t) / -8).float()  # ln(sigma / alpha) / 4 = -log_snr / 8

    def raw(
        self, x_t: Batch, t: Float[Tensor, " batch"], c_in: PerSample, labels: Int64[Tensor, " batch"] | None = None
    ) -> Batch:
        """Return the network's own output F in x_t's dtype, for t of shape (B,)."""
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            out: Tensor = self.network(like(c_in, x_t) * x_t, self.time_value(t).to(x_t.device), labels)
        return out.to(x_t.dtype)

    def forward(self, x_t: Batch, t: PerSample, labels: Int64[Tensor, " batch"] | None = None) -> Batch:
        """Return E[x_0 | x_t], of x_t's shape and dtype; t is () or (B,)."""
        alpha, sigma = self.schedule(t)
        c = self.coefficients(alpha, sigma)
        out = self.raw(x_t, t.expand(len(x_t)), c.c_in, labels)
        x_0 = like(c.c_skip, x_t) * x_t + like(c.c_out, x_t) * out
        return x_0 if self.clip is None else x_0.clamp(-self.clip, self.clip)
