"""The forward process on an image, and the reverse process of the first samples, as arrays of bytes to look at."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.api.models import Models
from gendi.api.prepared import prepare
from gendi.api.request import Request
from gendi.data.images.latents import shown_as_pictures
from gendi.diffusion.gaussian.process import Process, like
from gendi.diffusion.gaussian.samplers import SAMPLERS, initial, trajectory
from gendi.diffusion.gaussian.samplers.draw import SampleNoise, calls_to_times
from gendi.diffusion.gaussian.schedule import Schedule
from gendi.diffusion.randomness import normal
from gendi.machine.stopping import Poll
from gendi.train.kept.bundle import Bundle

STEPS = 20
SAMPLER = "dpmpp-2m"


@dataclass(frozen=True)
class Film:
    """The reverse process of N samples, in K steps of a sampler."""

    times: NDArray[np.float64]
    """(K + 1,), from the noisiest to 0."""
    noisy: NDArray[np.uint8]
    """(K + 1, N, H, W, C): x at each of the times, made visible; the last ones are the samples."""
    guesses: NDArray[np.uint8]
    """(K + 1, N, H, W, C): the clean images that the denoiser expects at each of the times; at 0, the samples."""
    sampler: str

    @property
    def steps(self) -> int:
        """Steps of the sampler; most make one network call each."""
        return len(self.times) - 1


def forward_states(schedule: Schedule, x_0: Tensor, times: Tensor, eps: Tensor) -> Tensor:
    """Return x_t, (K, C, H, W), of one image x_0 (C, H, W) with one noise eps (C, H, W) at `times` (K,)."""
    process = Process(schedule)
    return torch.stack([process.sample(x_0[None], t, eps[None])[0] for t in times])


def visible(x: Tensor, schedule: Schedule, t: Tensor) -> Tensor:
    """Return x_t scaled so that it can be seen: divided by sqrt(alpha^2 + sigma^2) where that exceeds 1.

    A variance-preserving schedule changes nothing. Under a variance-exploding one, noise without this scaling would be
    clipped to black and white.
    """
    alpha, sigma = schedule(t)
    return x / like((alpha**2 + sigma**2).sqrt().clamp(min=1), x)


def forward_strip(bundle: Bundle, image: NDArray[np.uint8], times: Tensor, seed: int = 0) -> NDArray[np.uint8]:
    """Return the bytes (K, H, W, C) of one image (H, W, C) at `times` of the bundle's own forward process."""
    schedule = bundle.schedule()
    codec = shown_as_pictures(bundle.codec, "a strip of the forward process")
    x_0 = codec.encode(torch.from_numpy(np.ascontiguousarray(image))[None])[0]
    states = forward_states(schedule, x_0, times, normal(codec.shape, seed, "report-forward"))
    return codec.decode(visible(states, schedule, times)).numpy()


def reverse_film(bundle: Bundle, request: Request, *, poll: Poll | None = None) -> Film:
    """Draw the samples of a request, which should be few, and keep every state on the way.

    A chain shorter than the requested calls is walked whole. A sampler that needs hundreds of steps, or chooses them
    itself, gives way to DPM-Solver++(2M), without its grid and options. `poll` is called after every network call;
    raise from it to stop. Raises `UsageError` for an unknown condition, grid or option.
    """
    schedule, how = bundle.schedule(), request.how
    how = replace(how, steps=how.steps if schedule.steps is None else min(how.steps, schedule.steps))
    known = SAMPLERS.get(how.sampler)
    if known is None or not known.quick or known.adaptive:
        how = replace(how, sampler=SAMPLER, grid=None, options={})
    ready = prepare(replace(request, how=how), Models.read(bundle, request.guidance))
    indices, shape = list(ready.request.indices), bundle.codec.shape
    times = calls_to_times(schedule, SAMPLERS[how.sampler], how.steps, how.grid, how.bounds)
    with torch.inference_mode():
        noisy = [initial(ready.denoiser, SampleNoise(how.seed, indices, shape, how.device)(0), times)]
        guesses = []
        for state in trajectory(ready.denoiser, shape, indices, how, cond=ready.cond, poll=poll):
            noisy.append(state.x)
            guesses.append(state.x_0)
        guesses.append(noisy[-1])
        decode = shown_as_pictures(bundle.codec, "a film of the reverse process").decode
        return Film(
            times=times.numpy(),
            noisy=np.stack([decode(visible(x, schedule, t)).numpy() for x, t in zip(noisy, times, strict=True)]),
            guesses=np.stack([decode(x).numpy() for x in guesses]),
            sampler=how.sampler,
        )
