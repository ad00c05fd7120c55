"""Drawing samples: the loop over batches, and a noise stream of its own for every sample.

Sample i of seed s draws its starting noise and its step noises from the stream keyed (s, "sample", i), in that order.
So it is the same picture, to float round-off, whatever the batch size, the neighbours or the device.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from gendi.diffusion.batches import in_batches, indices
from gendi.diffusion.conditions import Conditions, take
from gendi.diffusion.gaussian.denoiser import Denoiser
from gendi.diffusion.gaussian.samplers.brownian import BrownianNoise
from gendi.diffusion.gaussian.samplers.checked import checked
from gendi.diffusion.gaussian.samplers.grid import BOUNDS, Bounds, make_grid
from gendi.diffusion.gaussian.samplers.info import SamplerInfo
from gendi.diffusion.gaussian.samplers.registry import get_sampler
from gendi.diffusion.gaussian.samplers.state import Noise, State
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.randomness import stream
from gendi.errors import UsageError


class SampleNoise:
    """Standard normal noise for a batch: row j always comes from the stream of sample indices[j]."""

    def __init__(self, seed: int, indices: Sequence[int], shape: tuple[int, ...], device: torch.device | str) -> None:
        self.streams = [stream(seed, "sample", index=i) for i in indices]
        self.shape, self.device = shape, device

    def __call__(self, step: int) -> Tensor:
        """Return the next noise, (B, *shape) float32; each call draws afresh, so `step` is for callers that replay."""
        rows = np.empty((len(self.streams), *self.shape), np.float32)
        for row, own in zip(rows, self.streams, strict=True):
            own.standard_normal(dtype=np.float32, out=row)
        return torch.from_numpy(rows).to(self.device)


def initial(denoiser: Denoiser, noise: Tensor, times: Tensor) -> Tensor:
    """Return x at times[0] from standard normal noise: its marginal's sigma times it (the signal left there is
    dropped).
    """
    return denoiser.schedule(times[0])[1].to(noise) * noise


def calls_to_times(
    schedule: Schedule, info: SamplerInfo, steps: int, grid: str | None = None, bounds: Bounds = BOUNDS
) -> Float64[Tensor, " n_plus_1"]:
    """Return the times of a sampler's grid on which it makes `steps` calls (at most, if it is adaptive).

    Raises `UsageError` as `make_grid` does, and for more calls than a discrete chain has steps, unless it is adaptive.
    """
    if not info.adaptive and schedule.steps is not None and steps > schedule.steps:
        raise UsageError(f"{steps} calls were asked of a chain of {schedule.steps}: choose 1 to {schedule.steps}.")
    if steps < 1:
        raise UsageError(f"sampling needs at least 1 step; got {steps}.")
    return make_grid(schedule, info.intervals(steps), grid or info.grid, bounds)


def trajectory(
    denoiser: Denoiser,
    shape: tuple[int, ...],
    indices: Sequence[int],
    *,
    steps: int = 20,
    sampler: str = "ancestral-karras",
    seed: int = 0,
    grid: str | None = None,
    bounds: Bounds = BOUNDS,
    device: torch.device | str = "cpu",
    cond: Conditions | None = None,
    poll: Callable[[], None] | None = None,
    **options: Any,
) -> Iterator[State]:
    """Yield the state after each step of drawing the samples `indices`; x is (len(indices), *shape) in model space.

    Raises what `sample` raises, as soon as the first state is asked for.
    """
    info = get_sampler(sampler)
    for option in options:
        info.check_option(sampler, option)
    times = calls_to_times(denoiser.schedule, info, steps, grid, bounds)
    noise: Noise = SampleNoise(seed, indices, shape, device)
    x = initial(denoiser, noise(0), times)
    if info.brownian:
        noise = BrownianNoise(seed, indices, shape, times, device)
    if info.takes_calls:
        options["calls"] = steps
    yield from info.run(checked(denoiser, sampler, poll), x, times, noise, **options, **(cond or {}))


@torch.inference_mode()
def sample(
    denoiser: Denoiser,
    shape: tuple[int, ...],
    n: int,
    *,
    steps: int = 20,
    sampler: str = "ancestral-karras",
    seed: int = 0,
    grid: str | None = None,
    bounds: Bounds = BOUNDS,
    batch_size: int = 250,
    first_index: int = 0,
    device: torch.device | str = "cpu",
    cond: Conditions | None = None,
    poll: Callable[[], None] | None = None,
    **options: Any,
) -> Float[Tensor, " n *shape"]:
    """Draw samples first_index, ..., first_index + n - 1 of `seed`.

    Args:
        denoiser: E[x_0 | x_t].
        shape: shape of one sample in model space, (C, H, W) for images.
        n: how many samples.
        steps: network calls per sample; the most allowed, for an adaptive sampler.
        sampler, grid: names in the registries; the grid defaults to the sampler's own.
        bounds: sigma / alpha of the last and the first call, for grids in it.
        batch_size: samples per network call; halved, down to 1, whenever memory runs out.
        cond: conditions by name, n rows each, for a conditional denoiser (see `gendi.diffusion.conditions`).
        poll: called after every network call; raise from it to stop.
        options: the sampler's own (eta, order, churn, rtol): `get_sampler(name).options` names them.

    Returns:
        (n, *shape) float32 on the CPU, in model space.

    Raises:
        UsageError: n, steps or batch_size below 1, unknown names, more steps than the chain has, an option that the
            sampler has not or out of its range, a denoiser that returns another shape than it was given.
        DivergedError: a denoiser that returns NaN or infinity.
    """
    if n < 1 or batch_size < 1:
        raise UsageError(
            f"the number of samples and the batch size must be at least 1; got n = {n}, batch size {batch_size}."
        )
    done: list[Tensor] = []

    def work(rows: slice) -> None:
        run = trajectory(
            denoiser,
            shape,
            list(indices(rows, first_index)),
            steps=steps,
            sampler=sampler,
            seed=seed,
            grid=grid,
            bounds=bounds,
            device=device,
            cond=take(cond, rows, device),
            poll=poll,
            **options,
        )
        for state in run:
            x = state.x
        done.append(x.cpu())

    in_batches(n, batch_size, work)
    return torch.cat(done)
