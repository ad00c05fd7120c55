"""SA-Solver: stochastic Adams methods for every SDE that shares the marginals of the forward process.

With lambda = ln(alpha / sigma) and h = lambda_s - lambda_t, any constant tau >= 0 gives an SDE with these marginals
(0 is the probability-flow ODE, 1 is the reverse SDE). Its solution is         [Xue et al. 2023, section 4]

    x_s = sigma_s / sigma_t e^(-tau^2 h) x_t + alpha_s int_0^h p e^(-p (h - u)) x0_hat(lambda_t + u) du
          + sigma_s sqrt(1 - e^(-2 tau^2 h)) noise,      p = 1 + tau^2.

With a polynomial in lambda through the x0_hat that are known at some nodes, the integral is a weighted sum of them. The
nodes of the predictor are t and the times before it. Once x0_hat at s is known, the corrector repeats the step from the
same x_t, with the same noise and with s as one more node. So a step costs one call.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import like
from gendi.diffusion.gaussian.samplers.polynomial import weights
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.errors import UsageError

Known = tuple[Tensor, Tensor]
"""lambda, and the denoiser's answer there."""


class Step(NamedTuple):
    """A step to s from `carried`, which is the part of x_t in x_s plus the noise; h and rate belong to the integral."""

    carried: Tensor
    alpha: Tensor
    end: Tensor
    h: Tensor
    rate: float

    def __call__(self, known: Sequence[Known]) -> Tensor:
        """Return x_s from the values known, each at its place v = (lambda_s - lambda) / h."""
        x = self.carried
        places = [float((self.end - place) / self.h) for place, _ in known]
        share = weights(places, self.rate * self.h.item())
        for w, (_, x_0) in zip(share, known, strict=True):
            x = x + like(self.alpha * w, x) * x_0
        return x


def sa_solver(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    tau: float = 1.0,
    order: int = 2,
    correct: bool = True,
) -> Iterator[State]:
    """Sample by SA-Solver, with `order` nodes for the predictor and one more for the corrector, one call a step.

    [Xue et al. 2023, algorithm 1]. At tau = 0 the order of the error is 1 or 2, or 2 or 3 with `correct`; a third node
    gains nothing there, because the first step has only one. At tau > 0 the noise limits the strong order to 1. Order 1
    without `correct` is DDIM at tau = 0, and ancestral sampling with `small` variance at tau = 1. The step to s = 0
    returns x0_hat. Raises `UsageError` unless order is 1, 2 or 3 and tau >= 0.
    """
    if order not in (1, 2, 3):
        raise UsageError(f"order = {order} is out of range: sa-solver has the orders 1, 2 and 3.")
    if not 0 <= tau < float("inf"):
        raise UsageError(f"tau = {tau:g} is out of range: at least 0 (deterministic); 1 is the reverse SDE.")
    schedule = denoiser.schedule
    known: list[Known] = []  # newest first
    step: Step | None = None
    for k, (t, s) in enumerate(pairs(times)):
        (_, sigma_t), (alpha_s, sigma_s) = schedule(t), schedule(s)
        start, end = schedule.log_snr(t) / 2, schedule.log_snr(s) / 2
        x_0 = denoiser(x, t)
        if correct and step is not None:
            x = step([(start, x_0), *known])
        known = [(start, x_0), *known][:order]
        if s == 0:
            yield State(t, s, x_0, x_0)
            continue
        h = end - start
        kept = torch.exp(-(tau**2) * h) if tau > 0 else torch.ones_like(h)
        carried = like(sigma_s / sigma_t * kept, x) * x
        if tau > 0:
            carried = carried + like(sigma_s * (-torch.expm1(-2 * tau**2 * h)).sqrt(), x) * noise(k)
        step = Step(carried, alpha_s, end, h, 1 + tau**2)
        x = step(known)
        if not h.isfinite():  # alpha_t = 0: lambda is infinite, so there is no polynomial in it
            known, step = [], None
        yield State(t, s, x, x_0)
