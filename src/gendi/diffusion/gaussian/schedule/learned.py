"""A schedule that is learned: a monotone network from t to the log signal-to-noise ratio.

    m(t)      = a t + sum_k c_k sigmoid(s_k (t - m_k)),    a, c_k, s_k > 0
    lambda(t) = lambda_max - (lambda_max - lambda_min) (m(t) - m(0)) / (m(1) - m(0))   [Kingma et al. 2021, appendix H]

so lambda = ln(alpha^2 / sigma^2) falls, and is exactly lambda_max and lambda_min at the ends. In continuous time the
bound is the mean over uniform t of l = |lambda'(t)| e / 2, where e is the squared eps error at lambda(t). The curve
between the ends does not change this mean, only the variance of its estimate [section 5.1], so the network minimises

    V = E[l^2] = 1/4 of the integral of S(lambda(t)) lambda'(t)^2 dt,    S(lambda) = E[e^2 | lambda].

Its gradient needs no derivative of e. With delta lambda = 0 at both ends, and (dS / dlambda) lambda' = dS / dt,
integration by parts of the term in which the evaluation points move gives

    delta V = 1/4 integral of (2 S lambda' delta lambda' + (dS / dlambda) lambda'^2 delta lambda) dt
            = 1/4 integral of S (lambda' delta lambda' - lambda'' delta lambda) dt
            = E[l^2 (delta ln|lambda'| - (lambda'' / lambda'^2) delta lambda)].

So the losses of a step are enough, as numbers: nothing is differentiated through the denoiser, and the gradient is
unbiased. The bracket is -delta ln p at a fixed lambda, where p = 1 / |lambda'| is the density of lambda. Its second
half matters: without it the minimum would be at p ~ S. At the true minimum S lambda'^2 is constant, so p is
proportional to sqrt(S).
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from gendi.diffusion.gaussian.schedule.preserving import VariancePreserving
from gendi.diffusion.gaussian.schedule.tabulated import Tabulated
from gendi.errors import UsageError

HIDDEN = 64
ENTRIES = 1001
"""Entries in the table of a learned schedule."""
STEEPNESS = (8.0, 32.0)
"""The slopes that the sigmoids start with, in turn; their middles start evenly spread over [0, 1]."""
SHARE = 0.5
"""The share of the way from m(0) to m(1) that the sigmoids together take at the start; the line takes the rest."""


class MonotoneNetwork(nn.Module):
    """The network lambda(t), which falls from `log_snr_max` at t = 0 to `log_snr_min` at t = 1.

    It is float64, and its initial weights are not random. Raises `UsageError` unless log_snr_min < log_snr_max.
    """

    def __init__(self, log_snr_min: float, log_snr_max: float, hidden: int = HIDDEN) -> None:
        super().__init__()
        if not log_snr_min < log_snr_max:
            raise UsageError(f"log_snr_min = {log_snr_min:g} must lie below log_snr_max = {log_snr_max:g}.")
        self.low, self.high = log_snr_min, log_snr_max
        slopes = torch.tensor(STEEPNESS, dtype=torch.float64).repeat(hidden)[:hidden]
        heights = torch.full((hidden,), SHARE / hidden, dtype=torch.float64)
        self.line = nn.Parameter(_inverse_softplus(torch.tensor(1 - SHARE, dtype=torch.float64)))
        self.slopes = nn.Parameter(_inverse_softplus(slopes))
        self.middles = nn.Parameter((torch.arange(hidden, dtype=torch.float64) + 0.5) / hidden)
        self.heights = nn.Parameter(_inverse_softplus(heights))

    def forward(
        self, t: Float[Tensor, " *times"]
    ) -> tuple[Float64[Tensor, " *times"], Float64[Tensor, " *times"], Float64[Tensor, " *times"]]:
        """Return lambda, lambda' and lambda'' at t in [0, 1]."""
        t = t.double()
        line, slopes, heights = (softplus(p) for p in (self.line, self.slopes, self.heights))

        def sigmoids(at: Tensor) -> Tensor:
            return torch.sigmoid(slopes * (at[..., None] - self.middles))

        start, h = sigmoids(torch.zeros_like(line)), sigmoids(t)
        whole = line + (heights * (sigmoids(torch.ones_like(line)) - start)).sum(-1)
        m = line * t + (heights * (h - start)).sum(-1)
        first = line + (heights * slopes * h * (1 - h)).sum(-1)
        second = (heights * slopes**2 * h * (1 - h) * (1 - 2 * h)).sum(-1)
        scale = (self.low - self.high) / whole
        value = torch.lerp(torch.full_like(t, self.high), torch.full_like(t, self.low), m / whole)
        return value, scale * first, scale * second


class Learned(VariancePreserving):
    """The variance-preserving schedule of a `MonotoneNetwork`, in continuous time; at t = 0 itself there is no noise.

    The coefficients carry no gradient: the network learns by `variance_surrogate` alone.
    """

    name = "learned"

    def __init__(self, network: MonotoneNetwork) -> None:
        super().__init__(None)
        self.network = network

    @torch.no_grad()
    def _log_abar(self, t: Tensor) -> Tensor:
        return torch.where(t > 0, logsigmoid(self.network(t)[0]), 0.0)

    @torch.no_grad()
    def _beta(self, t: Tensor) -> Tensor:
        """Return -d log abar / dt = -sigmoid(-lambda) lambda'."""
        value, first, _ = self.network(t)
        beta: Tensor = -torch.sigmoid(-value) * first
        return beta

    @torch.no_grad()
    def tabulated(self, entries: int = ENTRIES) -> Tabulated:
        """Return a table of lambda at evenly spaced times as a schedule for sampling, which also reaches the data."""
        times = torch.linspace(0, 1, entries, dtype=torch.float64, device=self.network.line.device)
        return Tabulated(self.network(times)[0])


def variance_surrogate(
    network: MonotoneNetwork, t: Float[Tensor, " batch"], losses: Float[Tensor, " batch"]
) -> Float64[Tensor, ""]:
    """Return a number whose gradient is that of E[l^2], from losses l (B,) at uniform times t (B,).

    The losses are constants: no gradient goes through them.
    """
    value, first, second = network(t)
    turn = (second / first.square()).detach()
    surrogate: Tensor = (losses.detach().double().square() * (first.abs().log() - turn * value)).mean()
    return surrogate


def _inverse_softplus(y: Tensor) -> Tensor:
    return y + torch.log(-torch.expm1(-y))
