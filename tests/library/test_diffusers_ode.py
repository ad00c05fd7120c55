"""The deterministic solvers against the library `diffusers`, on the same betas and the same function for a network.

Its step j of T counts from 0: j is our i = j + 1, and its tables are float32. Where it differs:

- Its DPM-Solver++(3M) weighs the second difference by half of what the integral of the parabola through three values
  gives (its single-step method of third order has the factor 2, the multistep one does not), so it is of second order.
  The two are compared step by step, with the missing half added.
- Its multistep solvers of order 3 do not correct their first step, which leaves them at order 2; ours do. So methods of
  order 3 are compared step by step, from our states.
- Its UniPC of order 3 lowers its order in the step before the last, and with bh1 the last step is 0 times infinity, so
  the comparison stops before. Its DEIS ends at step 0, not at data.
- Its DPM-Solver++(2S) makes a call that is left over at the end, and ours makes it at the beginning. They are compared
  for an odd number of calls, which leaves none over.
- Its Euler and Heun hold y = x / alpha. With churn its network does not see the raised level, so churn is left out.
"""

from typing import Any

import pytest
import torch
from diffusers import (
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor, nn
from worlds import f64, gaussian

from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.process import eps_from_x0
from gendi.diffusion.gaussian.samplers import State, get_sampler
from gendi.diffusion.gaussian.schedule import make_schedule

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")  # theirs, under NumPy 2
T = 1000
BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
names = pytest.mark.parametrize("name", sorted(BETAS))


def network(x: Tensor, step: Tensor) -> Tensor:
    """Return a smooth function of x and of the step, which is not a denoiser of anything."""
    return torch.sin(x + step.to(x).reshape(-1, 1) / 100) / 2


class Network(nn.Module):
    def forward(self, x: Tensor, step: Tensor, **cond: Tensor) -> Tensor:
        return network(x, step)


def denoiser(name: str) -> NetworkDenoiser:
    return NetworkDenoiser(Network(), make_schedule(name, T), Parameterisation(prediction="eps"), time_input="step")


def made(kind: Any, name: str, n: int, **options: Any) -> Any:
    scheduler = kind(T, beta_start=1e-4, beta_end=0.02, beta_schedule=BETAS[name], **options)
    scheduler.set_timesteps(n)
    return scheduler


def times_of(steps: Tensor) -> Tensor:
    """Return the times of the library's steps, each once, and 0."""
    return torch.cat([(steps.double().unique().flip(0) + 1) / T, f64(0)])


def states(sampler: str, name: str, x: Tensor, times: Tensor, **options: Any) -> list[State]:
    return list(get_sampler(sampler).run(denoiser(name), x, times, lambda k: x, **options))


def near(ours: Tensor, theirs: Tensor, tolerance: float = 6e-5) -> None:
    # their tables are products of up to 1000 float32 factors, each rounded to 6e-8
    torch.testing.assert_close(ours, theirs.double(), rtol=tolerance, atol=tolerance * ours.abs().max().item())


def follow(theirs: Any, x: Tensor, ours: list[State]) -> None:
    for j, state in zip(theirs.timesteps, ours):
        x = theirs.step(network(x, torch.tensor([float(j) + 1])), j, x).prev_sample
        near(state.x, x)


@names
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("rule", ["bh1", "bh2"])
def test_unipc(name: str, order: int, rule: str) -> None:
    options = {"solver_order": order, "solver_type": rule, "timestep_spacing": "trailing"}
    theirs = made(UniPCMultistepScheduler, name, 20, **options)
    x = gaussian(3, 4)
    ours = states("unipc", name, x, times_of(theirs.timesteps), order=order, rule=rule)
    follow(theirs, x, ours[: 19 if order < 3 else 18])


@names
def test_single_steps(name: str) -> None:
    options = {"solver_order": 2, "final_sigmas_type": "zero", "lower_order_final": True}
    theirs = made(DPMSolverSinglestepScheduler, name, 17, **options)
    x = gaussian(3, 4)
    follow(theirs, x, states("dpmpp-2s", name, x, times_of(theirs.timesteps)))


@names
@pytest.mark.parametrize("order", [1, 2])
def test_deis(name: str, order: int) -> None:
    theirs = made(DEISMultistepScheduler, name, 20, solver_order=order, timestep_spacing="trailing")
    x = gaussian(3, 4)
    follow(theirs, x, states("deis", name, x, times_of(theirs.timesteps), order=order)[:-1])


@names
def test_deis_of_third_order(name: str) -> None:
    theirs = made(DEISMultistepScheduler, name, 20, solver_order=3, timestep_spacing="trailing")
    start = gaussian(3, 4)
    ours = states("deis", name, start, times_of(theirs.timesteps))
    schedule = make_schedule(name, T)
    at = [state.x for state in ours]  # after step k the network is called at at[k]; k = 0 is corrected first
    eps = [eps_from_x0(x, after.x_0, *schedule(after.t)) for x, after in zip(at, ours[1:])]  # eps[k] from at[k]
    for k in range(3, 19):
        theirs._step_index = k
        near(ours[k].x, theirs.multistep_deis_third_order_update(eps[k - 3 : k], sample=at[k - 1]))


@names
def test_dpm_solver_of_third_order_but_for_a_half(name: str) -> None:
    theirs = made(DPMSolverMultistepScheduler, name, 20, solver_order=3, timestep_spacing="trailing")
    start = gaussian(3, 4)
    times = times_of(theirs.timesteps)
    ours = states("dpmpp-3m", name, start, times)
    schedule = make_schedule(name, T)
    lam, seen = schedule.log_snr(times) / 2, []
    for k in range(2, 19):
        m2, m1, m0 = (state.x_0 for state in ours[k - 2 : k + 1])
        h, r0, r1 = lam[k + 1] - lam[k], *((lam[i] - lam[i - 1]) / (lam[k + 1] - lam[k]) for i in (k, k - 1))
        d2 = ((m0 - m1) / r0 - (m1 - m2) / r1) / (r0 + r1)
        half = schedule(times[k + 1])[0] * ((torch.exp(-h) - 1 + h) / h**2 - 0.5) * d2
        theirs._step_index = k
        update = theirs.multistep_dpm_solver_third_order_update([m2, m1, m0], sample=ours[k - 1].x)
        near(ours[k].x, update - half)
        seen.append((half.abs().max() / update.abs().max()).item())
    assert max(seen) > 5e-4 or name == "cosine"  # ten times what `near` forgives; there x is 10,000 times x0_hat


@names
def test_euler_is_ddim(name: str) -> None:
    theirs = made(EulerDiscreteScheduler, name, 20, timestep_spacing="trailing")
    x = gaussian(3, 4)
    ours = states("ddim", name, x, times_of(theirs.timesteps))
    y = x * (theirs.sigmas[0] ** 2 + 1).sqrt()
    for k, j in enumerate(theirs.timesteps):
        out = network(theirs.scale_model_input(y, j), j + 1)
        y = theirs.step(out, j, y).prev_sample
        near(ours[k].x, y / (theirs.sigmas[k + 1] ** 2 + 1).sqrt())


@names
def test_heun(name: str) -> None:
    theirs = made(HeunDiscreteScheduler, name, 20, timestep_spacing="trailing")
    x = gaussian(3, 4)
    ours = states("heun", name, x, times_of(theirs.timesteps))
    y = x * (theirs.sigmas[0] ** 2 + 1).sqrt()
    for k, j in enumerate(theirs.timesteps):  # t_0, t_1, t_1, t_2, t_2, ...: an odd k ends an interval
        out = network(theirs.scale_model_input(y, j), j + 1)
        y = theirs.step(out, j, y).prev_sample
        if k % 2:
            # cosine begins at a level of 20,000, by which Heun's step multiplies a difference of float32 slopes
            near(ours[k // 2].x, y / (theirs.sigmas[k + 1] ** 2 + 1).sqrt(), 1e-3 if name == "cosine" else 6e-5)
    near(ours[-1].x, y, 1e-3 if name == "cosine" else 6e-5)
