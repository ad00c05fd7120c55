"""RePaint: inpainting by an unconditional denoiser without gradients.  [Lugmayr et al. 2022]

At every step from t to s the unknown values are drawn from p(x_s | x_t) and the known ones from q(x_s | x_0 = y). The
two do not know of each other, which going back repairs: noise is added up to a time before, and the way down is walked
again. With enough resamplings what is unknown fits what is known; with none it merely starts beside it.
"""

from collections.abc import Iterator

from jaxtyping import Bool, Float
from torch import Tensor, where

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import Process, like
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.errors import UsageError


def walk(n: int, resamplings: int, jump: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (i, j): go from times[i] to times[j], j = i + 1 down or j = i - jump back up, from 0 to n.

    The way is cut into stretches of `jump` intervals, counted from the data; each is walked down `resamplings` times.
    For jump = 1 it is algorithm 1 of Lugmayr et al. (2022), but that the last step is repeated too.
    """
    for stop in range((n - 1) % jump + 1, n + 1, jump):
        start = max(0, stop - jump)
        for k in range(resamplings):
            if k:
                yield stop, start
            for i in range(start, stop):
                yield i, i + 1


def repaint(
    denoiser: Denoiser,
    x: Tensor,
    times: Tensor,
    noise: Noise,
    *,
    y: Float[Tensor, " rows *shape"],
    known: Bool[Tensor, " *mask"],
    resamplings: int = 10,
    jump: int = 1,
) -> Iterator[State]:
    """Yield a `State` after each step down, on any decreasing times.  [Lugmayr et al. 2022, algorithm 1]

    Args:
        noise: fresh at every call; it is called once a step, up or down, with how many came before.
        y: the data, (1 or B, ...); what stands where nothing is known does not matter.
        known: where it is known, of a shape that broadcasts to one sample's.
        resamplings: how often each stretch is walked down, 1 or more; the calls are about that many times the steps.
        jump: intervals of a stretch, 1 or more.

    Raises:
        UsageError: resamplings or jump below 1.
    """
    if resamplings < 1 or jump < 1:
        raise UsageError(f"resamplings and jump must be 1 or more; got {resamplings} and {jump}.")
    process, schedule = Process(denoiser.schedule), denoiser.schedule
    grid = [t for t, _ in pairs(times)] + [times[-1].double()]
    y, known = y.to(x), known.to(x.device)
    for k, (i, j) in enumerate(walk(len(grid) - 1, resamplings, jump)):
        t, s = grid[i], grid[j]
        if j < i:
            factor, variance = process.transition(s, t)
            x = like(factor, x) * x + like(variance.sqrt(), x) * noise(k).to(x)
            continue
        x_0 = denoiser(x, t)
        mean, variance = process.posterior(x, x_0, t, s)
        alpha, sigma = schedule(s)
        x = where(known, like(alpha, x) * y, mean)
        if s > 0:  # the two draws share no pixel, so one noise serves both
            x = x + where(known, like(sigma, x), like(variance.sqrt(), x)) * noise(k).to(x)
        yield State(t, s, x, x_0)
