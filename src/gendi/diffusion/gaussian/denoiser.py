"""A denoiser is E[x_0 | x_t]: the only thing a sampler, a likelihood or a guidance rule sees.

Whatever a network predicts is converted here, once. Every parameterisation is affine in the network's output F:

    x0_hat = c_skip x_t + c_out F(c_in x_t, time)

           c_skip                         c_out                                c_in
    eps    1 / alpha                      -sigma / alpha                       1        [Ho et al. 2020]
    x0     0                              1                                    1
    v      alpha / (alpha^2 + sigma^2)    -sigma / (alpha^2 + sigma^2)         1        [Salimans & Ho 2022]
    EDM    alpha s^2 / (sigma^2 + alpha^2 s^2)    sigma s / sqrt(...)    1 / sqrt(...)  [Karras et al. 2022, table 1]
    mu     -w_t / w_0                     1 / w_0                              1        [Ho et al. 2020, eq. 8]

with s = sigma_data, written for any alpha (Karras et al. have alpha = 1). mu is the mean w_t x_t + w_0 x_0 of the
posterior q(x_s | x_t, x_0) of one step of the trained chain, s = t - 1/T; at the first step it is x_0 itself. The
training target of F and the weight of its error follow from x_t = alpha x_0 + sigma eps, so the objective needs no
branch either.

If the variance of p(x_s | x_t) is learned, the network has a second output F' of the same shape, which places the
variance of each dimension between `small` and `large`:

    share = (F' + 1) / 2                                                           [Nichol & Dhariwal 2021, eq. 15]
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gendi.diffusion.conditions import Conditions, by_name, keywords
from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.process import Batch, PerSample, PerSample64, Process, Time, like
from gendi.diffusion.gaussian.schedule import Schedule, as_times
from gendi.diffusion.trained import Trained, part_of, parts_of
from gendi.errors import UsageError, unknown_name

PREDICTIONS = ("eps", "x0", "v")
"""The meanings of an output that need (alpha, sigma) alone; `mu` also needs the time before."""


@runtime_checkable
class Denoiser(Protocol):
    """Anything that maps x_t (B, ...) and t () or (B,) to E[x_0 | x_t] under `schedule`, of x_t's shape.

    x_t and t are positional, so that a condition may be called `t` or `x_t`.
    """

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> Tensor: ...


@runtime_checkable
class LearnedVariance(Denoiser, Protocol):
    """A denoiser that also predicts the variance of p(x_s | x_t)."""

    def predict(self, x_t: Tensor, t: Tensor, /, **cond: Any) -> tuple[Tensor, Tensor]:
        """Return E[x_0 | x_t] and the share of `Process.reverse_log_variance`, both of x_t's shape, in one call."""
        ...


@dataclass(frozen=True)
class Coefficients:
    """The affine map of a parameterisation at some times; float64 tensors shaped like the times."""

    c_in: Tensor
    c_skip: Tensor
    c_out: Tensor

    def of(self, rows: slice) -> "Coefficients":
        """Return the coefficients of some rows; those of a single time are the same for all."""
        return self if self.c_in.ndim == 0 else Coefficients(self.c_in[rows], self.c_skip[rows], self.c_out[rows])

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


def mu_coefficients(schedule: Schedule, t: PerSample) -> Coefficients:
    """Return the coefficients of mu-prediction at t, for the chain's step to s = t - 1/T (or 0 if that is negative).

    Raises `UsageError` for a continuous schedule.
    """
    t = t.double()
    w_t, w_0, _ = Process(schedule).posterior_weights(t, step_before(schedule, t))
    return Coefficients(torch.ones_like(t), -w_t / w_0, 1 / w_0)


def step_before(schedule: Schedule, t: PerSample) -> PerSample64:
    """Return t - 1/T, or 0 if that is negative; float64 of t's shape. Raises `UsageError` for a continuous schedule."""
    if schedule.steps is None:
        raise UsageError(f"the {schedule.name} schedule was made in continuous time: it has no step before t.")
    return (t.double() - 1 / schedule.steps).clamp(min=0)


class NetworkDenoiser(Trained):
    """The denoiser made of a network and its parameterisation, for a network whose only output is F.

    `make_denoiser` chooses the class that a parameterisation needs.

    Args:
        network: maps (c_in x_t (B, ...), time value (B,), conditions by name) to F of x_t's shape.
        schedule: the process the network was trained on.
        parameterisation: what the output means, and whether there is a second one.
        sigma_data: root mean square of the encoded training data, for EDM's preconditioning.
        time_input: "log-snr" (the network sees c_noise = ln(sigma / alpha) / 4) or "step" (the paper's i = t T).
        clip: bounds x0_hat to [-clip, clip]; None leaves it unbounded.
        precision: "fp32", or "bf16" to run the network (and nothing else) under bf16 autocast.
        posterior: what turns the network's outputs into F where data have points (`gendi.diffusion.gaussian.points`).

    Raises:
        UsageError: the network needs an integer step or predicts the mean of a step, but the schedule is continuous;
            or the parameterisation has another variance than this class.
    """

    variance_kind: ClassVar[str] = "fixed"

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        parameterisation: Parameterisation,
        sigma_data: float = 1.0,
        time_input: str = "log-snr",
        clip: float | None = None,
        precision: str = "fp32",
        posterior: nn.Module | None = None,
    ) -> None:
        super().__init__(network, precision, clip)
        self.posterior = posterior
        if time_input == "step" and schedule.steps is None:
            raise UsageError("a network that sees the paper's integer step needs a schedule with steps.")
        if parameterisation.prediction == "mu" and schedule.steps is None:
            raise UsageError("a network that predicts the mean of a step needs a schedule with steps.")
        if parameterisation.variance != self.variance_kind:
            found = parameterisation.variance
            raise UsageError(f"objective.variance = {found!r}: build this denoiser by `make_denoiser`.")
        self.schedule, self.parameterisation = schedule, parameterisation
        self.sigma_data, self.time_input = sigma_data, time_input
        self.far: float | None = None
        """The noise level, in standard deviations of the data, above which the network is told no higher one."""

    def under(self, process: Schedule) -> None:
        """Let the denoiser work under another schedule."""
        self.schedule = process

    def coefficients(self, t: PerSample) -> Coefficients:
        """Return the affine map of this denoiser's parameterisation at t, of shape () or (B,)."""
        meaning = self.parameterisation
        if meaning.prediction == "mu":
            return mu_coefficients(self.schedule, t)
        return coefficients(meaning.prediction, meaning.precondition, self.sigma_data, *self.schedule(t))

    def time_value(self, t: Tensor) -> Tensor:
        """Return what the network sees of `t`, float32 of t's shape."""
        if self.far is not None:
            end = self.schedule.time(torch.tensor(-2 * math.log(self.far * self.sigma_data), dtype=torch.float64))
            t = torch.minimum(t.double(), end.to(t.device))
        if self.time_input == "step":
            assert self.schedule.steps is not None
            return (t.double() * self.schedule.steps).float()
        return (self.schedule.log_snr(t) / -8).float()  # ln(sigma / alpha) / 4 = -log_snr / 8

    def raw(
        self, x_t: Batch, t: Float[Tensor, " batch"], c_in: PerSample, /, **cond: Tensor
    ) -> tuple[Batch, Batch | None]:
        """Return the network's output F at t (B,), and the share of its learned variance or None.

        Both have x_t's shape and dtype. Raises `UsageError` if the network returns another shape.
        """
        value = self.time_value(t).to(x_t.device)

        def some(rows: slice) -> Tensor:
            own = c_in if c_in.ndim == 0 else part_of(c_in, rows)
            return self._out(part_of(x_t, rows), part_of(value, rows), own, parts_of(cond, rows))

        found = self.by_shares(some, len(x_t))
        return self._split(found[0] if len(found) == 1 else torch.cat(found))

    def _out(self, x_t: Batch, value: Float[Tensor, " batch"], c_in: PerSample, cond: Conditions) -> Tensor:
        """Return all outputs of the network, of x_t's shape but with its number of outputs, and in x_t's dtype."""
        x = like(c_in, x_t) * x_t
        told = {name: torch.full_like(value, number) for name, number in self.told.items() if name not in cond}
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            out: Tensor = self.network(x, value, **keywords({**cond, **told}))
        expected = (len(x_t), self.parameterisation.outputs * x_t.shape[1], *x_t.shape[2:])
        if out.shape != expected:
            raise UsageError(f"the network gave shape {tuple(out.shape)} for {tuple(x_t.shape)}: expected {expected}.")
        out = out.to(x_t.dtype)
        return out if self.posterior is None else self.posterior(x, value, out, self.sigma_data)

    def _split(self, out: Tensor) -> tuple[Tensor, Tensor | None]:
        return out, None

    def _answer(self, x_t: Batch, t: PerSample, cond: Conditions) -> tuple[Batch, Batch | None]:
        c, value = self.coefficients(t), self.time_value(t.expand(len(x_t))).to(x_t.device)

        def some(rows: slice) -> tuple[Tensor, Tensor | None]:
            x, own = part_of(x_t, rows), c.of(rows)
            out, share = self._split(self._out(x, part_of(value, rows), own.c_in, parts_of(cond, rows)))
            x_0 = like(own.c_skip, x) * x + like(own.c_out, x) * out
            return (x_0 if self.clip is None else x_0.clamp(-self.clip, self.clip)), share

        found = self.by_shares(some, len(x_t))
        if len(found) == 1:
            return found[0]
        shares = [share for _, share in found if share is not None]
        return torch.cat([x_0 for x_0, _ in found]), torch.cat(shares) if shares else None

    def __call__(self, x_t: Batch, t: Time, /, **cond: Tensor) -> Batch:
        """Return E[x_0 | x_t], of x_t's shape and dtype; t is a number, or of shape () or (B,)."""
        x_0: Tensor = super().__call__(x_t, t, **keywords(cond))
        return x_0

    def forward(self, x_t: Batch, t: Time, /, **given: Tensor) -> Batch:
        return self._answer(x_t, as_times(t), by_name(given))[0]


class LearnedVarianceDenoiser(NetworkDenoiser):
    """The denoiser of a network with two outputs along dimension 1: the prediction F, then F' for the variance."""

    variance_kind = "learned"

    def _split(self, out: Tensor) -> tuple[Tensor, Tensor | None]:
        prediction, second = out.chunk(2, dim=1)
        return prediction, (second + 1) / 2

    def predict(self, x_t: Batch, t: Time, /, **cond: Tensor) -> tuple[Batch, Batch]:
        """Return E[x_0 | x_t] and the share of `Process.reverse_log_variance`, both of x_t's shape, in one call."""
        x_0, share = self._answer(x_t, as_times(t), cond)
        assert share is not None
        return x_0, share


def make_denoiser(
    network: nn.Module, schedule: Schedule, parameterisation: Parameterisation, *args: Any, **kwargs: Any
) -> NetworkDenoiser:
    """Return a `LearnedVarianceDenoiser` if the variance is learned, and otherwise a `NetworkDenoiser`.

    The arguments are those of `NetworkDenoiser`.
    """
    kind = LearnedVarianceDenoiser if parameterisation.variance == "learned" else NetworkDenoiser
    return kind(network, schedule, parameterisation, *args, **kwargs)
