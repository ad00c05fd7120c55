"""The variational bound on -log p(x_0) of tokens, term by term, and its limit in continuous time. Nats per sequence.

    chain of T       sum over i of KL(q(x_s | x_t, x_0) || p(x_s | x_t)), t = i / T, s = t - 1 / T  [Austin et al. 2021]
    T -> infinity    integral over t of the divergence of the rates    [Campbell et al. 2022; MDLM, eq. 10]

The term of the first step, s = 0, is -log p(x_0 | x_t). The term of the prior, KL(q(x_1 | x_0) || pi), is 0, since
alpha(1) is 0. For masks, the integral does not depend on the schedule: put n for the number of masks, and it is

    the mean over n uniform on 1 .. L, and over sets of n masked positions, of L / n sum over these of -log p(x_0^i),

the bound of any-order autoregression [Uria et al. 2014; Hoogeboom et al. 2022; Ou et al. 2024], which varies less.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from gendi.diffusion.batches import in_batches, indices
from gendi.diffusion.conditions import Conditions, take
from gendi.diffusion.discrete.denoiser import LogP, TokenDenoiser
from gendi.diffusion.discrete.process import Absorbing, TokenProcess, Tokens
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError
from gendi.machine.stopping import Poll, may_stop


@dataclass(frozen=True)
class TokenBound:
    """An upper bound on the code length of sequences.

    Args:
        values: (N,) nats of each sequence.
        parts: (N, 4) of these, what each quarter of the noise levels costs, from least to most noise.
        length: L, positions of a sequence.
        steps: T of the chain; None for continuous time.
        draws: terms that were computed for each sequence.
    """

    values: Float64[Tensor, " count"]
    parts: Float64[Tensor, "count 4"]
    length: int
    steps: int | None
    draws: int

    @property
    def nats(self) -> float:
        """Mean nats of a sequence."""
        return float(self.values.mean())

    @property
    def error(self) -> float:
        """Standard error of `nats`, over sequences and draws."""
        return float(self.values.std(correction=1)) / math.sqrt(len(self.values)) if len(self.values) > 1 else math.nan


def bound_term(
    process: TokenProcess, x_0: Tokens, x_t: Tokens, log_p: LogP, t: Tensor, s: Tensor
) -> Float64[Tensor, " batch"]:
    """Return KL(q(x_s | x_t, x_0) || p(x_s | x_t)) of each row, (B,) nats, for the denoiser's answer log_p at t."""
    q = process.posterior(x_t, x_0, t, s)
    p = process.reverse(x_t, log_p.double().exp(), t, s)
    return (torch.xlogy(q, q) - torch.xlogy(q, p.clamp(min=1e-300))).flatten(1).sum(1)


def variational_bound(
    denoiser: TokenDenoiser,
    x_0: Tokens,
    *,
    steps: int | None = None,
    draws: int | None = 50,
    seed: int = 0,
    cond: Conditions | None = None,
    batch_size: int = 250,
    first_index: int = 0,
    poll: Poll | None = None,
) -> TokenBound:
    """Return an upper bound on -log p of sequences x_0 (N, L), which are on the device of the denoiser.

    Args:
        denoiser: log p(x_0 | x_t).
        steps: the bound of a chain of so many steps; the process's own T by default, which may be none.
        draws: how many terms are computed for each sequence, evenly spread over the noise levels. None computes all of
            a chain, or one for each number of masks.
        seed: keys the draws, as (seed, "token bound", index of the row).
        cond: conditions by name, N rows each.
        batch_size: rows per call.
        first_index: the index of the first row.
        poll: called after every call; raises to stop.

    Raises:
        UsageError: draws or steps below 1, or no number of draws for a process in continuous time without masks.
    """
    process, length = denoiser.process, x_0.shape[1]
    steps = process.steps if steps is None else steps
    by_count = steps is None and isinstance(process, Absorbing)
    levels = steps if steps is not None else length if by_count else None
    count = levels if draws is None or (levels is not None and draws >= levels) else draws
    if count is None or count < 1 or (steps is not None and steps < 1):
        raise UsageError("a bound needs at least 1 step and 1 draw; in continuous time, say how many draws.")
    found, parts = [], []

    def batch(rows: slice) -> None:
        x, own = x_0[rows], take(cond, rows, x_0.device)
        values = torch.zeros(len(x), count, dtype=torch.float64)
        where = torch.zeros(len(x), count, dtype=torch.float64)
        for j, (u, noise) in enumerate(_draws(rows, first_index, seed, count, length)):
            if by_count:
                terms, place = _of_count(denoiser, x, u, noise, own)
            else:
                terms, place = _of_time(denoiser, x, u, noise, own, steps)
            values[:, j], where[:, j] = terms.cpu(), place
            may_stop(poll)
        found.append(values.mean(1))
        quarter = (where * 4).long().clamp(0, 3)
        parts.append(torch.stack([(values * (quarter == k)).mean(1) for k in range(4)], 1))

    with torch.inference_mode():
        in_batches(len(x_0), batch_size, batch)
    return TokenBound(torch.cat(found), torch.cat(parts), length, steps, count)


def _draws(rows: slice, first_index: int, seed: int, count: int, length: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for each draw the place (B,) in [0, 1) of its noise level, and uniform numbers (B, L)."""
    streams = [stream(seed, "token bound", index=i) for i in indices(rows, first_index)]
    offset = np.array([own.random() for own in streams])
    for j in range(count):
        u = torch.from_numpy((j + offset) / count).clamp(max=1 - 1e-12)
        yield u, torch.from_numpy(np.stack([own.random(length) for own in streams]))


def _of_count(
    denoiser: TokenDenoiser, x_0: Tokens, u: Tensor, noise: Tensor, cond: Conditions
) -> tuple[Tensor, Tensor]:
    """Return L / n times the cross-entropy of n masked positions, (B,), and n / L; n - 1 is the floor of u L."""
    process, length = denoiser.process, x_0.shape[1]
    assert isinstance(process, Absorbing)
    n = (u * length).floor().long() + 1
    masked = (noise.argsort(1).argsort(1) < n[:, None]).to(x_0.device)
    x_t = torch.where(masked, process.mask, x_0)
    share = n / length
    log_p = denoiser(x_t, process.schedule.time(1 - share.double()).to(x_0.device), **cond)
    cross = -log_p.gather(-1, x_0[..., None])[..., 0].double()
    return (cross * masked).sum(1) / share.to(x_0.device), (n - 1) / length


def _of_time(
    denoiser: TokenDenoiser, x_0: Tokens, u: Tensor, noise: Tensor, cond: Conditions, steps: int | None
) -> tuple[Tensor, Tensor]:
    """Return T times a term of a chain of T, or the integrand at t = u, (B,); and u."""
    process = denoiser.process
    t = u.clamp(min=1e-9) if steps is None else ((u * steps).floor() + 1) / steps
    x_t = process.noised(x_0, t.to(x_0.device), noise.to(x_0.device))
    log_p = denoiser(x_t, t.to(x_0.device), **cond)
    if steps is None:
        return process.bound_rate(x_0, x_t, log_p, t.to(x_0.device)).sum(1), u
    return steps * bound_term(process, x_0, x_t, log_p, t, t - 1 / steps), u
