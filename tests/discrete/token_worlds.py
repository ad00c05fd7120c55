"""Small worlds of tokens, and laws found by going through every sequence."""

import itertools

import torch
from torch import Tensor

from gendi.diffusion.discrete.exact import HiddenMarkovDenoiser, MarkovDenoiser
from gendi.diffusion.discrete.process import TokenProcess, make_process
from gendi.diffusion.discrete.schedules import make_token_schedule

SCHEDULES = ("linear", "cosine", "polynomial")
PROCESSES = ("absorbing", "uniform")


def process_of(name: str = "absorbing", tokens: int = 3, schedule: str = "linear", steps=None) -> TokenProcess:
    return make_process(name, tokens, make_token_schedule(schedule), steps)


def rows(*shape: int, seed: int = 0, sharp: float = 1.5) -> Tensor:
    """Return random laws along the last axis."""
    generator = torch.Generator().manual_seed(seed)
    return (sharp * torch.randn(*shape, dtype=torch.float64, generator=generator)).softmax(-1)


def chain(process: TokenProcess, seed: int = 0) -> MarkovDenoiser:
    k = process.tokens
    return MarkovDenoiser(process, rows(k, seed=seed), rows(k, k, seed=seed + 1))


def hidden(process: TokenProcess, states: int = 2, seed: int = 0) -> HiddenMarkovDenoiser:
    k = process.tokens
    return HiddenMarkovDenoiser(
        process, rows(states, seed=seed), rows(states, states, seed=seed + 1), rows(states, k, seed=seed + 2)
    )


def every(states: int, length: int) -> Tensor:
    """Return all sequences (states^L, L) of states."""
    return torch.tensor(list(itertools.product(range(states), repeat=length)), dtype=torch.int64)


def law(world: HiddenMarkovDenoiser, length: int) -> Tensor:
    """Return the probability of every sequence, by the sum over all hidden paths; in the order of `every`."""
    found = torch.zeros(world.process.tokens**length, dtype=torch.float64)
    sequences = every(world.process.tokens, length)
    for path in itertools.product(range(len(world.initial)), repeat=length):
        p = world.initial[path[0]]
        for a, b in itertools.pairwise(path):
            p = p * world.transition[a, b]
        terms = [world.emission[h][sequences[:, i]] for i, h in enumerate(path)]
        found = found + p * torch.stack(terms).prod(0)
    return found


def noising(process: TokenProcess, keep: float, length: int) -> Tensor:
    """Return q (K'^L, S^L) from sequences of data to noisy ones, each token kept with probability `keep`."""
    one = torch.zeros(process.tokens, process.states, dtype=torch.float64)
    one[:, : process.tokens] = keep * torch.eye(process.tokens, dtype=torch.float64)
    one = one + (1 - keep) * process.noise
    x_0, x_t = every(process.tokens, length), every(process.states, length)
    return one[x_0[:, None, :], x_t[None, :, :]].prod(-1)


def kernel(world: HiddenMarkovDenoiser, t: Tensor, s: Tensor, length: int) -> Tensor:
    """Return the law (S^L, S^L) of x_s given x_t if positions are drawn independently of one another."""
    x_t = every(world.process.states, length)
    reverse = world.process.reverse(x_t, world(x_t, t).exp(), t, s)  # (S^L, L, S)
    x_s = every(world.process.states, length)
    terms = [reverse[:, i][:, x_s[:, i]] for i in range(length)]
    return torch.stack(terms).prod(0)


def start(process: TokenProcess, length: int) -> Tensor:
    """Return the law (S^L,) of x at t = 1."""
    return process.noise[every(process.states, length)].prod(-1)


def of_data(process: TokenProcess, found: Tensor, length: int) -> Tensor:
    """Return the entries (K^L,) of a law (S^L,) that are sequences without masks."""
    return found[(every(process.states, length) < process.tokens).all(1)]


def ancestral_law(world: HiddenMarkovDenoiser, intervals: int, length: int, corrections: int = 0, back: float = 0.5):
    """Return the law (K^L,) of ancestral sampling in so many steps, with corrections, without drawing anything."""
    process = world.process
    times = torch.linspace(1, 0, intervals + 1, dtype=torch.float64)
    found = start(process, length)
    for t, s in itertools.pairwise(times):
        found = found @ kernel(world, t, s, length)
        r = s + back * (t - s)
        for _ in range(corrections):
            keep = process.schedule.alpha(r) / process.schedule.alpha(s)
            found = found @ renoising(process, float(keep), length) @ kernel(world, r, s, length)
    return of_data(process, found, length)


def renoising(process: TokenProcess, keep: float, length: int) -> Tensor:
    """Return the forward law (S^L, S^L) from x_s to x_r."""
    one = keep * torch.eye(process.states, dtype=torch.float64) + (1 - keep) * process.noise
    x = every(process.states, length)
    return one[x[:, None, :], x[None, :, :]].prod(-1)


def variation(p: Tensor, q: Tensor) -> float:
    """Return the total variation of two laws."""
    return float((p - q).abs().sum() / 2)


def counted(x: Tensor, tokens: int) -> Tensor:
    """Return the frequencies (K^L,) of drawn sequences."""
    place = (x * tokens ** torch.arange(x.shape[1] - 1, -1, -1)).sum(1)
    return torch.bincount(place, minlength=tokens ** x.shape[1]).double() / len(x)
