"""The same quantities from the library `diffusers`, where its definitions agree with ours.

Its step j of T counts from 0: j is our i = j + 1. Its tables are float32, so 1 - abar errs by up to 2e-4 at j = 0, and
by 1e-6 from j = 100 on. Where definitions differ: its DDIM guesses the step before as j - T // n, so the comparison
takes an n that divides T and its "trailing" spacing (its default, "leading", never visits T); its DPM-Solver takes a
first-order last step below 15 steps alone.
"""

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler
from torch import Tensor, nn
from worlds import f64, gaussian

from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid
from gendi.diffusion.gaussian.schedule import make_schedule

T = 1000
BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
COMMON: dict[str, Any] = {"num_train_timesteps": T, "clip_sample": False}


def network(x: Tensor, step: Tensor, **cond: Tensor) -> Tensor:
    """Return a smooth function of x and of the step, which is not a denoiser of anything."""
    return torch.sin(x + step.to(x).reshape(-1, 1) / 100) / 2


class Network(nn.Module):
    def forward(self, x: Tensor, step: Tensor, **cond: Tensor) -> Tensor:
        return network(x, step)


def denoiser(name: str, prediction: str = "eps") -> NetworkDenoiser:
    return NetworkDenoiser(Network(), make_schedule(name, T), Parameterisation(prediction), time_input="step")


@pytest.mark.parametrize("name", sorted(BETAS))
def test_tables(name: str) -> None:
    theirs = DDPMScheduler(beta_schedule=BETAS[name], **COMMON)
    schedule = make_schedule(name, T)
    grid = schedule.grid()
    torch.testing.assert_close(
        Process(schedule).transition(grid[1:], grid[:-1])[1], theirs.betas.double(), rtol=2e-5, atol=1e-7
    )
    # a float32 product of 1000 factors errs by up to 1000 * 6e-8
    torch.testing.assert_close(schedule(grid[1:])[0] ** 2, theirs.alphas_cumprod.double(), rtol=6e-5, atol=1e-9)


@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("first", [60, 1000])
def test_ancestral_steps(variance: str, first: int) -> None:
    theirs = DDPMScheduler(beta_schedule="linear", variance_type=f"fixed_{variance}", **COMMON)
    times = (
        torch.arange(first, first - 21, -1).double() / T
        if first == T
        else make_grid(denoiser("linear").schedule, T)[-61:]
    )
    x = start = gaussian(3, 4)
    noises = [torch.randn(3, 4, generator=torch.Generator().manual_seed(k), dtype=torch.float64) for k in range(60)]
    states = get_sampler("ancestral").run(denoiser("linear"), start, times, noises.__getitem__, variance=variance)
    for k, state in enumerate(states):
        i = first - k
        eps = network(x, torch.tensor([float(i)]))
        x = theirs.step(eps, i - 1, x, generator=torch.Generator().manual_seed(k)).prev_sample
        torch.testing.assert_close(state.x, x, rtol=1e-3, atol=1e-3 if first < T else 1e-4)


@pytest.mark.parametrize("prediction", ["eps", "v", "x0"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_steps(prediction: str, eta: float) -> None:
    n = 20
    kind = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}[prediction]
    theirs = DDIMScheduler(beta_schedule="linear", timestep_spacing="trailing", prediction_type=kind, **COMMON)
    theirs.set_timesteps(n)
    ours = denoiser("linear", prediction)
    times = make_grid(ours.schedule, n)
    assert [round(t * T) - 1 for t in times[:-1].tolist()] == theirs.timesteps.tolist()
    x = start = gaussian(3, 4)
    for k, state in enumerate(get_sampler("ddim").run(ours, start, times, lambda k: gaussian(3, 4, seed=k), eta=eta)):
        j = int(theirs.timesteps[k])
        out = network(x, torch.tensor([j + 1.0]))
        x = (
            theirs.step(out, j, x, eta=eta, variance_noise=gaussian(3, 4, seed=k)).prev_sample
            if eta
            else theirs.step(out, j, x).prev_sample
        )
        # their float32 abar of 4e-5 errs by 6e-5 of itself, and x0_hat divides by its root
        torch.testing.assert_close(state.x, x, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs, under NumPy 2
@pytest.mark.parametrize("name", sorted(BETAS))
def test_dpm_solver_steps(name: str) -> None:
    n = 10
    theirs = DPMSolverMultistepScheduler(
        num_train_timesteps=T, beta_schedule=BETAS[name], timestep_spacing="trailing", final_sigmas_type="zero"
    )
    theirs.set_timesteps(n)
    ours = denoiser(name)
    times = torch.cat([(theirs.timesteps.double() + 1) / T, f64(0)])
    x = gaussian(3, 4)
    states = get_sampler("dpmpp-2m").run(ours, x, times, lambda k: x)
    for j, state in zip(theirs.timesteps, states, strict=True):
        x = theirs.step(network(x, torch.tensor([j + 1.0])), j, x).prev_sample
        torch.testing.assert_close(state.x, x, rtol=2e-3, atol=2e-3 * state.x.abs().max().item())
