"""Exponential integrators of the probability-flow ODE: its linear part is exact, the rest is a polynomial.

With lambda = ln(alpha / sigma) and h = lambda_s - lambda_t the solution of the ODE is

    x_s = sigma_s / sigma_t x_t + alpha_s int_0^h e^(tau - h) x0_hat dtau               [Lu et al. 2022b, prop. 4.1]
        = alpha_s / alpha_t x_t - sigma_s int_0^h e^(h - tau) eps_hat dtau              [Lu et al. 2022a, prop. 3.1]

where x0_hat, or eps_hat, is the denoiser's answer along the path at lambda_t + tau. With a polynomial through the
values known at some lambdas ("nodes") the integrals have closed forms. Nodes at and before t predict (Adams-Bashforth);
the value at s, once it is known, corrects (Adams-Moulton). One node is DDIM, in either form.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import eps_from_x0, like
from gendi.diffusion.gaussian.samplers import polynomial
from gendi.diffusion.gaussian.samplers.state import State, pairs
from gendi.diffusion.gaussian.schedule import Schedule

Prediction = Literal["x0", "eps"]
"""Which of the two predictions is a polynomial in lambda."""
Rule = Literal["bh1", "bh2"]
"""The function B(h) of Zhao et al.: h, or 1 - e^-h."""

JUMP = 1.0
"""A step longer than this in lambda, such as the first one from t = 1, is too long for a line through its ends."""


class Mark(NamedTuple):
    """A time, its coefficients, and lambda = ln(alpha / sigma), +inf at t = 0; scalars, float64."""

    t: Tensor
    alpha: Tensor
    sigma: Tensor
    lam: Tensor


def steps(schedule: Schedule, times: Tensor) -> Iterator[tuple[Mark, Mark]]:
    """Yield the marks of (t, s) along `times`. Raises `UsageError` for times that no sampler can visit."""
    pairs(times)
    alpha, sigma = schedule(times)
    marks = [Mark(*row) for row in zip(times.double(), alpha, sigma, alpha.log() - sigma.log(), strict=True)]
    return pairwise(marks)


def weights(nodes: Sequence[float], h: float, prediction: Prediction, rule: Rule | None = None) -> list[float]:
    """Return the weight of the value at each node in the integral over a step of length h.

        int_0^h e^(rate (tau - h)) value dtau,    rate = 1 for "x0" and -1 for "eps"

    The nodes are values of tau, so t is 0. The weights are exact for every polynomial that the nodes determine. With a
    `rule` and two nodes, the first of which is t, they take the simpler B(h) / 2 for the second moment.
    [Zhao et al. 2023, section 3.1]
    """
    rate = 1 if prediction == "x0" else -1
    if rule is not None and len(nodes) == 2:
        whole = -math.expm1(-rate * h) / rate
        b = h if rule == "bh1" else whole
        slope = b * h / (2 * nodes[1])
        return [whole - slope, slope]
    return [w / rate for w in polynomial.weights([1 - tau / h for tau in nodes], rate * h)]


def advance(
    x: Tensor, t: Mark, s: Mark, known: Sequence[tuple[Mark, Tensor]], prediction: Prediction, rule: Rule | None = None
) -> Tensor:
    """Return x_s, for s > 0, from x = x_t and the values `known` at some marks."""
    if prediction == "x0":
        x_s, scale = like(s.sigma / t.sigma, x) * x, s.alpha
    else:
        x_s, scale = like(s.alpha / t.alpha, x) * x, -s.sigma
    h = s.lam - t.lam
    nodes = [(m.lam - t.lam).item() for m, _ in known]
    for w, (_, value) in zip(weights(nodes, h.item(), prediction, rule), known, strict=True):
        x_s = x_s + like(scale * w, x) * value
    return x_s


def adams(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    *,
    order: int,
    prediction: Prediction,
    correct: bool = False,
    rule: Rule | None = None,
) -> Iterator[State]:
    """Sample by the multistep method through the last `order` values, one call a step.

    `correct` repeats each step once the value at its end is known, which takes no further call and gains an order. The
    first step has a single value. From order 3 on it is corrected even without `correct`, because its error, of second
    order, would otherwise be that of the whole. The value itself is never computed again. The step to s = 0 returns
    x0_hat.
    """
    known: list[tuple[Mark, Tensor]] = []  # newest first
    start = x  # where the step before began
    for t, s in steps(denoiser.schedule, times):
        x_0 = denoiser(x, t.t)
        value = x_0 if prediction == "x0" else eps_from_x0(x, x_0, t.alpha, t.sigma)
        if known and (correct or (len(known) == 1 and order > 2 and t.lam - known[0][0].lam < JUMP)):
            x = advance(start, known[0][0], t, [*known, (t, value)], prediction, rule)
        known = [(t, value), *known][:order]
        start, x = x, x_0 if s.t == 0 else advance(x, t, s, known, prediction, rule)
        yield State(t.t, s.t, x, x_0)
