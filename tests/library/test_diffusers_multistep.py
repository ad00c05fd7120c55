"""LMS, DPM-2 and PNDM against the library `diffusers`, on the same betas and the same function for a network.

Its step j of T counts from 0: j is our i = j + 1, and its tables are float32. Where it differs:

- Its LMS and PNDM take a full step at the end, and ours return x0_hat at s = 0; the last step is not compared. Its LMS
  integrates numerically, to 1e-4.
- Its DPM-2 sends its network to a time between two steps of the chain, and ours to the nearest step. So both are run on
  a function that does not see the time; what sigma is there is interpolated linearly in j there, and by our chain here.
"""

from typing import Any

import pytest
import torch
from diffusers import KDPM2DiscreteScheduler, LMSDiscreteScheduler, PNDMScheduler
from test_diffusers_ode import T, denoiser, made, names, near, network, states, times_of
from torch import Tensor
from worlds import f64, gaussian

from gendi.diffusion.gaussian.samplers import get_sampler
from gendi.diffusion.gaussian.schedule import VarianceExploding

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # theirs, under NumPy 2


@names
@pytest.mark.parametrize("order", [1, 4])
def test_lms(name: str, order: int) -> None:
    theirs = made(LMSDiscreteScheduler, name, 20, timestep_spacing="trailing")
    x = gaussian(3, 4)
    ours = states("lms", name, x, times_of(theirs.timesteps), order=order)
    y = x * (theirs.sigmas[0] ** 2 + 1).sqrt()
    for k, j in enumerate(theirs.timesteps[:-1]):
        out = network(theirs.scale_model_input(y, j), j + 1)
        y = theirs.step(out, j, y, order=order).prev_sample
        near(ours[k].x, y / (theirs.sigmas[k + 1] ** 2 + 1).sqrt(), 1e-3 if name == "cosine" else 2e-4)


@pytest.mark.parametrize(
    ("name", "spacing", "skip", "extra"),
    [("linear", "trailing", True, 1), ("linear", "trailing", False, 9), ("cosine", "leading", True, 1)],
)
def test_pndm(name: str, spacing: str, skip: bool, extra: int) -> None:
    """Each of their steps is one call: K + 1 or K + 9 of them for our K intervals, and each interval ends the same.

    On the cosine schedule their first step from t = 1 reaches thousands, so there the grid begins below.
    """
    n = 20
    theirs = made(PNDMScheduler, name, n, timestep_spacing=spacing, skip_prk_steps=skip)
    assert len(theirs.timesteps) == n + extra
    x = y = gaussian(3, 4)
    first = T if spacing == "trailing" else T - T // n + 1
    times = torch.cat([torch.arange(first, 0, -T // n).double() / T, f64(0)])
    ours = states("pndm", name, x, times, calls=n + extra)
    ends = [2, *range(3, n + 1)] if skip else [4, 8, 12, *range(13, n + extra)]
    for call, j in enumerate(theirs.timesteps.tolist()[:-1], 1):
        y = theirs.step(network(y, torch.tensor([j + 1.0])), j, y).prev_sample
        if call in ends:
            near(ours[ends.index(call)].x, y, 1e-3 if name == "cosine" else 2e-4)


def timeless(y: Tensor) -> Tensor:
    return torch.sin(y) / 2


class Timeless:
    """x0_hat = y - l F(y / sqrt(1 + l^2)), as their eps-prediction of a network that does not see the time."""

    schedule = VarianceExploding(variance=160.0**2)

    def __call__(self, x_t: Tensor, t: Tensor, **_: Any) -> Tensor:
        level = self.schedule(t)[1]
        return x_t - level * timeless(x_t / (1 + level**2).sqrt())


def test_dpm_2() -> None:
    theirs = made(KDPM2DiscreteScheduler, "linear", 20, timestep_spacing="trailing")
    levels = theirs.sigmas.double().unique().flip(0)
    times = torch.cat([Timeless.schedule.time(-2 * levels[:-1].log()), f64(0)]).clamp(max=1)
    x = gaussian(3, 4) * levels[0]
    ours = list(get_sampler("dpm-2").run(Timeless(), x, times, gaussian))
    y, k = x, 0
    for call, j in enumerate(theirs.timesteps):
        at = theirs.sigmas_interpol[theirs.step_index] if call % 2 and theirs.step_index else levels[k]
        y = theirs.step(timeless(y / (1 + at.double() ** 2).sqrt()), j, y).prev_sample
        if call % 2 or k == 19:
            near(ours[k].x, y, 1e-5)
            k += 1
    assert k == 20
    assert denoiser("linear").schedule.steps == T
