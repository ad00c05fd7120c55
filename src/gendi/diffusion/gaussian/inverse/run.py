"""Running samplers in edits: from any time and any start, in batches, with a noise stream for every result.

Result i of a seed draws its noises from the stream keyed (seed, "sample", i), as in
`gendi.diffusion.gaussian.samplers.draw`: the same picture whatever the batch size.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.batches import in_batches, indices
from gendi.diffusion.conditions import Conditions
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.samplers.brownian import BrownianNoise
from gendi.diffusion.gaussian.samplers.checked import checked
from gendi.diffusion.gaussian.samplers.draw import SampleNoise, calls_to_times
from gendi.diffusion.gaussian.samplers.grid import BOUNDS, Bounds
from gendi.diffusion.gaussian.samplers.info import SamplerInfo
from gendi.diffusion.gaussian.samplers.registry import get_sampler
from gendi.diffusion.gaussian.samplers.state import Noise, State
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.errors import UsageError


@dataclass(frozen=True)
class Drawing:
    """How to go from noise to data; the fields are arguments of `gendi.diffusion.gaussian.samplers.sample`."""

    steps: int = 20
    """Network calls per result; in RePaint intervals of the grid."""
    sampler: str = "ancestral-karras"
    seed: int = 0
    grid: str | None = None
    """Times to visit; None is the sampler's own."""
    bounds: Bounds = BOUNDS
    batch_size: int = 250
    first_index: int = 0
    """Index of the first result in the seed's streams."""
    device: torch.device | str = "cpu"
    poll: Callable[[], None] | None = None
    """Called after every network call; raises to stop."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The sampler's own."""


def times_from(schedule: Schedule, info: SamplerInfo, t: float, how: Drawing) -> Float64[Tensor, " n_plus_1"]:
    """Return the times of a sampler that starts at t in (0, 1] and makes `how.steps` calls (fewer where a chain has not
    as many below t).

    They are t, and then the end of the coarsest grid of the sampler's kind that has as many times below t. Raises
    `UsageError` for t outside (0, 1], and as `calls_to_times` does.
    """
    if not 0 < t <= 1:
        raise UsageError(f"t = {t:g} is out of range: sampling starts at a time above 0 and at most 1.")
    if t == 1:
        return calls_to_times(schedule, info, how.steps, how.grid, how.bounds)
    most = how.steps if schedule.steps is None else min(how.steps, schedule.steps)
    wanted = info.intervals(most)
    for calls in _more_and_more(most, schedule.steps, info):
        times = calls_to_times(schedule, info, calls, how.grid, how.bounds)
        below = times[times < t * (1 - 1e-9)]
        if len(below) >= wanted:
            break
    start = torch.tensor([t], dtype=torch.float64)
    return torch.cat([start, below[-wanted:]])


def _more_and_more(first: int, most: int | None, info: SamplerInfo) -> Iterator[int]:
    """Yield numbers of calls of a whole grid, from `first` on, each as few as 2% more, up to a chain's length."""
    calls = first
    while most is None or calls < most:
        yield calls
        calls += max(1, calls // 50)
        if info.adaptive or calls > 10_000_000:
            return
    yield most


def states(
    denoiser: Denoiser,
    shape: tuple[int, ...],
    rows: slice,
    how: Drawing,
    *,
    cond: Conditions | None = None,
    t: float = 1.0,
    start: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    run: Callable[..., Iterator[State]] | None = None,
) -> Iterator[State]:
    """Yield the state after each step of some rows of the results.

    Args:
        t: where to start.
        start: maps standard normal noise (B, *shape), alpha and sigma to x_t; sigma times the noise by default.
        run: what to run in the place of the sampler `how` names, with its grid.
        cond: conditions of these rows.

    Raises:
        UsageError: as `gendi.diffusion.gaussian.samplers.sample`, and t outside (0, 1].
    """
    info, which = get_sampler(how.sampler), list(indices(rows, how.first_index))
    options = dict(how.options) if run is None else {}
    for option in options:
        info.check_option(how.sampler, option)
    times = times_from(denoiser.schedule, info, t, how)
    noise: Noise = SampleNoise(how.seed, which, shape, how.device)
    alpha, sigma = denoiser.schedule(times[0])
    first = noise(0)
    x = sigma.to(first) * first if start is None else start(first, alpha.to(first), sigma.to(first))
    if run is None and info.brownian:
        noise = BrownianNoise(how.seed, which, shape, times, how.device)
    if run is None and info.takes_calls:
        options["calls"] = how.steps
    yield from (run or info.run)(checked(denoiser, how.sampler, how.poll), x, times, noise, **options, **(cond or {}))


@torch.inference_mode()
def draw(n: int, how: Drawing, work: Callable[[slice], Iterator[State]]) -> Float[Tensor, " n *shape"]:
    """Return the last x of `work` (the states of some rows of n), batch by batch; float32 on the CPU, model space.

    Raises what `work` does, and `UsageError` for n or a batch size below 1.
    """
    if n < 1:
        raise UsageError(f"the number of results must be at least 1; got {n}.")
    done: list[Tensor] = []

    def batch(rows: slice) -> None:
        for state in work(rows):
            x = state.x
        done.append(x.cpu())

    in_batches(n, how.batch_size, batch)
    return torch.cat(done)
