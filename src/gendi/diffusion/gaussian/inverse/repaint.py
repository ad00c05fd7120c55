"""RePaint: inpainting by an unconditional denoiser without gradients.  [Lugmayr et al. 2022]

At every step from t to s the unknown values are drawn from p(x_s | x_t) and the known ones from q(x_s | x_0 = y). The
two draws need not fit together. So noise is added to go back up in time, and the steps down are repeated. With enough
resamplings the unknown values fit the known ones.
"""

from collections.abc import Iterator

from jaxtyping import Bool, Float
from torch import Tensor, where

from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.process import Process, like
from gendi.diffusion.gaussian.samplers.state import Noise, State, pairs
from gendi.errors import UsageError


def walk(n: int, resamplings: int, jump: int = 1) -> Iterator[tuple[int, int]]:
    """Yield pairs (i, j), which mean a move from times[i] to times[j], on a walk from 0 to n.

    A move goes one interval down, j = i + 1, or back up to the start of a stretch. The stretches have `jump` intervals,
    counted from the data, and each is walked down `resamplings` times. With jump = 1 this is algorithm 1 of Lugmayr et
    al. (2022), except that the last step is repeated too.
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
        denoiser, x, times: see `gendi.diffusion.gaussian.samplers`.
        noise: called once for each step, up or down, with the number of steps before it; returns fresh noise each time.
        y: the data, (1 or B, ...); values that are not known do not matter.
        known: which values are known, of a shape that broadcasts to that of one sample.
        resamplings: how often each stretch is walked down, 1 or more; the network calls are about this many times the
            intervals.
        jump: number of intervals in a stretch, 1 or more.

    Raises:
        UsageError: resamplings or jump are below 1.
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
