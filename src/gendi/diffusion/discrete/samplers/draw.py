"""Drawing sequences: the loop over batches, and random numbers of its own for every sample.

Sample i of seed s draws from the stream keyed (s, "tokens", i). So it is the same sequence whatever the batch size and
the neighbours are, up to the round-off of the denoiser, which decides between tokens only where a draw falls within it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from gendi.diffusion.batches import in_batches, indices
from gendi.diffusion.conditions import Conditions, take
from gendi.diffusion.discrete.denoiser import Bound, TokenDenoiser
from gendi.diffusion.discrete.process import Absorbing, TokenProcess
from gendi.diffusion.discrete.samplers.registry import TOKEN_SAMPLERS
from gendi.diffusion.discrete.samplers.state import TokenNoise, TokenState, times_of
from gendi.diffusion.discrete.temperature import tempered
from gendi.errors import UsageError
from gendi.machine.stopping import Poll

FREE = -1
"""What stands in `given` where a position is to be drawn; -1 - m where it is to be one of the first m tokens."""


def trajectory(
    denoiser: TokenDenoiser,
    length: int,
    indices: Sequence[int],
    *,
    sampler: str = "ancestral",
    steps: int = 100,
    seed: int = 0,
    temperature: float = 1.0,
    cond: Conditions | None = None,
    given: Int64[Tensor, "batch length"] | None = None,
    device: torch.device | str = "cpu",
    poll: Poll | None = None,
    **options: Any,
) -> Iterator[TokenState]:
    """Yield the state after each step of drawing the samples `indices`; the arguments are those of `sample`."""
    info, process = TOKEN_SAMPLERS.find(sampler), denoiser.process
    for option in options:
        info.check_option(sampler, option)
    if process.name not in info.processes:
        raise UsageError(
            f"the sampler {sampler} is for the process {' and '.join(info.processes)}, and this model has the process "
            f"{process.name}."
        )
    if steps < 1:
        raise UsageError(f"sampling needs at least 1 step; got {steps}.")
    draws = TokenNoise(seed, indices, length, device)
    x, fixed = _start(process, draws, given)
    limits = None
    if given is not None and int(given.min()) < FREE:
        limits = torch.where(given < FREE, FREE - given, process.tokens).to(device)
    times = times_of(process, max(1, steps // info.calls_per_step))
    if info.takes_argument("fixed"):
        options["fixed"] = fixed
    yield from info.run(Bound(tempered(denoiser, temperature), cond, poll, limits), x, times, draws, **options)


def _start(process: TokenProcess, draws: TokenNoise, given: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return x at t = 1 and which positions are given. Raises `UsageError` as `sample` does."""
    x = process.fresh(draws())
    if given is None:
        return x, None
    if not isinstance(process, Absorbing):
        raise UsageError(
            "tokens can only be given to a process with masks, which are lifted around them; the process "
            f"{process.name} has none."
        )
    given = given.to(x.device)
    if given.shape != x.shape or int(given.max()) >= process.tokens or int(given.min()) < FREE - process.tokens:
        raise UsageError(
            f"given must be tokens 0 to {process.tokens - 1}, {FREE} for a free position or {FREE} - m for one of the "
            f"first m tokens, of shape {tuple(x.shape)}; got {tuple(given.shape)}."
        )
    fixed = given > FREE
    return torch.where(fixed, given, x), fixed


@torch.inference_mode()
def sample(
    denoiser: TokenDenoiser,
    length: int,
    n: int,
    *,
    first_index: int = 0,
    cond: Conditions | None = None,
    given: Tensor | None = None,
    batch_size: int = 250,
    device: torch.device | str = "cpu",
    **how: Any,
) -> Int64[Tensor, "n length"]:
    """Draw samples first_index, ..., first_index + n - 1 of `seed`.

    Args:
        denoiser: log p(x_0 | x_t).
        length: L, tokens of a sample.
        n: how many samples.
        first_index: the index of the first sample in the seed's streams.
        cond: conditions by name, n rows each.
        given: (L,) or (n, L), tokens that are given, -1 where a position is to be drawn, and -1 - m where it is to be
            one of the first m tokens (absorbing process only).
        batch_size: samples per call; halved, down to 1, whenever memory runs out.
        device: where to compute.
        how: `sampler`, `steps` (calls of the denoiser, but for samplers that go one by one), `seed`, `temperature`
            (probabilities are p^(1 / temperature), normalised), `poll`, and the sampler's options.

    Returns:
        Tokens (n, L) int64 on the CPU.

    Raises:
        UsageError: numbers out of range, unknown names, a sampler that the process does not allow, more steps than a
            chain has, given tokens that do not fit.
        DivergedError: a denoiser that returns NaN.
    """
    if n < 1 or batch_size < 1:
        raise UsageError(
            f"the number of samples and the batch size must be at least 1; got n = {n}, batch size {batch_size}."
        )
    if given is not None and given.ndim == 1:
        given = given.expand(n, -1)
    done: list[Tensor] = []

    def batch(rows: slice) -> None:
        own: dict[str, Any] = {"cond": take(cond, rows, device), "given": None if given is None else given[rows]}
        x = None
        for state in trajectory(denoiser, length, list(indices(rows, first_index)), device=device, **own, **how):
            x = state.x
        if x is None:  # everything is given, and there is nothing to draw
            assert given is not None
            x = given[rows]
        done.append(x.cpu())

    in_batches(n, batch_size, batch)
    return torch.cat(done)
