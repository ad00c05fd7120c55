"""The numbers of a walk, in model space, for pictures and for points alike: what noise does to one row at every level
and what a denoiser says about it, and the steps of ancestral sampling with everything that is added up in them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import Process, eps_from_x0, like
from gendi.diffusion.gaussian.samplers.ancestral import ancestral
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.randomness import normal
from gendi.machine.stopping import Poll, may_stop

LEVELS, STEPS, DRAWS = 24, 24, 8
"""Levels of noise, steps of sampling, and noises over which an error is averaged."""
FIRST = LEVELS // 2 - 1
"""The level that is shown first."""


@dataclass(frozen=True)
class Levels:
    """One row x_0 at K levels of noise: the first of `DRAWS` noises is shown, and errors are means over all of them."""

    times: Tensor
    """(K,), rising to 1."""
    alpha: Tensor
    sigma: Tensor
    x_0: Tensor
    """(*shape)."""
    eps: Tensor
    """(*shape)."""
    x_t: Tensor
    """(K, *shape)."""
    x0_hat: Tensor
    """(K, *shape), what the denoiser expects the row to be."""
    eps_hat: Tensor
    """(K, *shape), the noise that remains if it is right."""
    eps_error: Tensor
    """(K,), mean squared error of the noise, per number."""
    x0_error: Tensor
    """(K,), mean squared error of the row, per number."""


@dataclass(frozen=True)
class Step:
    """One step of ancestral sampling: x_s = w_t x_t + w_0 x0_hat + spread z, all (*shape)."""

    t: float
    s: float
    w_t: float
    w_0: float
    spread: float
    x_t: Tensor
    x0_hat: Tensor
    z: Tensor
    x_s: Tensor


def level_times(schedule: Schedule, n: int = LEVELS) -> Tensor:
    """Return n times (or fewer, of a short chain) at equal distances, above 0 up to 1; of a chain they are its own."""
    times = torch.arange(1, n + 1, dtype=torch.float64) / n
    if schedule.steps is None:
        return times
    own = (times * schedule.steps).round().clamp(min=1).tolist()
    return torch.tensor(sorted(set(own)), dtype=torch.float64) / schedule.steps


@torch.inference_mode()
def look(denoiser: Denoiser, x_0: Tensor, seed: int = 0, *, poll: Poll | None = None) -> Levels:
    """Add noise to one row x_0 (*shape) at every level, and ask the denoiser what it was.

    `denoiser` is called with `DRAWS` rows at a time.
    """
    schedule, times = denoiser.schedule, level_times(denoiser.schedule)
    process, eps = Process(schedule), normal((DRAWS, *x_0.shape), seed, "explain")
    rows, found = x_0[None].expand_as(eps), []
    for t in times:
        may_stop(poll)
        x_t = process.sample(rows, t, eps)
        x0_hat = denoiser(x_t, t)
        eps_hat = eps_from_x0(x_t, x0_hat, *schedule(t))
        errors = ((eps_hat - eps).square().mean(), (x0_hat - rows).square().mean())
        found.append((x_t[0], x0_hat[0], eps_hat[0], *errors))
    return Levels(times, *schedule(times), x_0, eps[0], *(torch.stack(parts) for parts in zip(*found, strict=True)))


@torch.inference_mode()
def walk_back(denoiser: Denoiser, x: Tensor, times: Tensor, seed: int = 0, *, poll: Poll | None = None) -> list[Step]:
    """Return the steps of ancestral sampling along falling `times`, from one row x (*shape) at times[0]."""
    process, steps, shape = Process(denoiser.schedule), list[Step](), (1, *x.shape)
    x = x[None]
    for state in ancestral(denoiser, x, times, lambda k: normal(shape, seed, "explain-step", k)):
        may_stop(poll)
        w_t, w_0, variance = process.posterior_weights(state.t, state.s)
        spread = variance.sqrt()
        rest = state.x - like(w_t, x) * x - like(w_0, x) * state.x_0
        z = rest / like(spread, x) if state.s > 0 else torch.zeros_like(rest)
        t, s, of_x, of_x0, of_z = (float(value) for value in (state.t, state.s, w_t, w_0, spread))
        steps.append(Step(t, s, of_x, of_x0, of_z, x[0], state.x_0[0], z[0], state.x[0]))
        x = state.x
    return steps
