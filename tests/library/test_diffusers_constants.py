"""The constants that the library `diffusers` publishes in its `tests/schedulers`, drawn by our samplers.

There a "network" F(x, j) = x j / (j + 1) of the 0-based step j runs from a ramp of 768 values between 0 and 1, and the
sum or the mean of |x| at the end is compared with a constant. Our samplers run here in float64. The means are held to
half of the last digit that was published. The sums of DDPM and DDIM are not reproduced to that: theirs come from tables
of float32, whose product of 1000 alphas errs by 6e-6. So they are held to 1e-5 of the constant, and to 1e-11 of what
the installed scheduler computes with the same tables in float64. Where a scheduler does something else than ours in one
step, that step is written down here, by its formula.
"""

import math
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from torch import Tensor, nn
from worlds import f64

from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.samplers import State, get_sampler, make_grid
from gendi.diffusion.gaussian.samplers.state import Noise
from gendi.diffusion.gaussian.schedule import Schedule, VarianceExploding, make_schedule

T = 1000
LINSPACE = [1000, 900, 800, 700, 600, 500, 401, 301, 201, 101]
"""Their `linspace` with 10 steps and a place for the end, counted from 1: multiples of 99.9 to the nearest."""


def ramp() -> Tensor:
    """Return their `dummy_sample_deter`: i / 768 with the sample as the last of four dimensions, then as the first."""
    n = 4 * 3 * 8 * 8
    return (torch.arange(n, dtype=torch.float64) / n).reshape(3, 8, 8, 4).permute(3, 0, 1, 2)


class Dummy(nn.Module):
    """Their `dummy_model`: x t / (t + 1)."""

    def __init__(self, offset: int) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, x: Tensor, seen: Tensor, **cond: Tensor) -> Tensor:
        t = seen.to(x).reshape(-1, *(1,) * (x.ndim - 1)) - self.offset
        return x * t / (t + 1)


def chain(prediction: str = "eps", clip: float | None = None) -> NetworkDenoiser:
    """Return the dummy on the linear chain of 1000 steps; it sees our step i less 1, which is their j."""
    meaning = Parameterisation(prediction=prediction)
    return NetworkDenoiser(Dummy(1), make_schedule("linear", T), meaning, time_input="step", clip=clip)


def no_noise(k: int) -> Tensor:
    raise AssertionError("a sampler without noise asked for some")


def run(
    sampler: str, denoiser: NetworkDenoiser, steps: list[int], noise: Noise = no_noise, **options: Any
) -> list[State]:
    times = torch.tensor(steps, dtype=torch.float64) / T
    return list(get_sampler(sampler).run(denoiser, ramp(), times, noise, **options))


def generator_noise() -> Noise:
    """Return the noises of torch's generator with seed 0, one after the other, as their scheduler draws them."""
    generator = torch.Generator().manual_seed(0)
    return lambda k: torch.randn(4, 3, 8, 8, generator=generator).double()


@pytest.mark.parametrize(("prediction", "total", "mean"), [("eps", 258.9606, 0.3372), ("v", 202.0296, 0.2631)])
def test_ddpm(prediction: str, total: float, mean: float) -> None:
    """All 1000 steps of Algorithm 2 with variance `small` and x0_hat clipped to [-1, 1]."""
    last = run("ancestral", chain(prediction, clip=1.0), list(range(T, -1, -1)), generator_noise())[-1]
    assert last.x.abs().sum().item() == pytest.approx(total, rel=1e-5)
    assert last.x.abs().mean().item() == pytest.approx(mean, abs=5e-5)


@pytest.mark.parametrize(("prediction", "total", "mean"), [("eps", 172.0067, 0.223967), ("v", 52.5302, 0.0684)])
def test_ddim(prediction: str, total: float, mean: float) -> None:
    """Ten steps of `leading`, from step 901: never from 1000."""
    denoiser = chain(prediction, clip=1.0)
    times = make_grid(denoiser.schedule, 10, "leading")
    assert (times * T).round().tolist() == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1, 0]
    last = run("ddim", denoiser, [round(t * T) for t in times.tolist()])[-1]
    assert last.x.abs().sum().item() == pytest.approx(total, rel=1e-5)
    assert last.x.abs().mean().item() == pytest.approx(mean, abs=5e-5)


@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize(("kind", "sampler"), [(DDPMScheduler, "ancestral"), (DDIMScheduler, "ddim")])
def test_their_sums_in_float64_are_ours(
    kind: Any, sampler: str, prediction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = kind(
        T, 1e-4, 0.02, "linear", prediction_type={"eps": "epsilon", "v": "v_prediction"}[prediction], clip_sample=True
    )
    theirs.betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    theirs.alphas = 1 - theirs.betas
    theirs.alphas_cumprod = theirs.alphas.cumprod(0)
    theirs.one = theirs.final_alpha_cumprod = torch.ones((), dtype=torch.float64)
    noise = generator_noise()
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *args, **kwargs: noise(0))
    theirs.set_timesteps(T if sampler == "ancestral" else 10)
    x = ramp()
    for j in theirs.timesteps.tolist():
        x = theirs.step(x * j / (j + 1), j, x).prev_sample
    steps = [j + 1 for j in theirs.timesteps.tolist()]
    last = run(sampler, chain(prediction, clip=1.0), [*steps, 0], generator_noise())[-1]
    assert last.x.abs().sum().item() == pytest.approx(x.abs().sum().item(), rel=1e-11)


def test_dpm_solver_2m() -> None:
    """The constant is that of a chain that ends at step 1, which was the default when it was published.

    Their table of float32 has 1 - abar of step 1 to 6e-4 of itself: the installed scheduler gives 0.330145, and in
    float64 it is 0.330155.
    """
    last = run("dpmpp-2m", chain(), [*LINSPACE, 1])[-1]
    assert last.x.abs().mean().item() == pytest.approx(0.3301, abs=1e-4)


def marks(schedule: Schedule) -> tuple[list[float], list[float], list[float]]:
    """Return alpha, sigma and ln(alpha / sigma) at the last three times of the grid to step 1."""
    alpha, sigma = schedule(f64(LINSPACE[-2] / T, LINSPACE[-1] / T, 1 / T))
    return alpha.tolist(), sigma.tolist(), (alpha / sigma).log().tolist()


def test_unipc() -> None:
    """Order 2 with bh2, to step 1. Their last step is of order 1: it lacks (x0_hat - previous x0_hat) h / (2 h_before)
    in the place of x0_hat."""
    denoiser = chain()
    states = run("unipc", denoiser, [*LINSPACE, 1], order=2, rule="bh2")
    alpha, _, lam = marks(denoiser.schedule)
    h, before = lam[2] - lam[1], lam[1] - lam[0]
    lacking = alpha[2] * -math.expm1(-h) * h / (2 * before) * (states[-1].x_0 - states[-2].x_0)
    assert (states[-1].x - lacking).abs().mean().item() == pytest.approx(0.2464, abs=5e-5)


def test_deis() -> None:
    """Order 2 in ln rho, to step 1. Their last step is DDIM's: eps_hat alone."""
    denoiser = chain()
    states = run("deis", denoiser, [*LINSPACE, 1], order=2)
    t = f64(LINSPACE[-1] / T)[0]
    eps = denoiser.network(states[-2].x, f64(LINSPACE[-1]))
    assert torch.allclose(denoiser(states[-2].x, t), states[-1].x_0)
    alpha, sigma, _ = marks(denoiser.schedule)
    last = alpha[2] * states[-1].x_0 + sigma[2] * eps
    assert last.abs().mean().item() == pytest.approx(0.23916, abs=1e-5)


def test_edm_euler() -> None:
    """Euler's method in sigma from 80 down, with EDM's preconditioning for data of width 0.5: c_noise = ln sigma / 4.

    Their start is the ramp times sqrt(80^2 + 1), and their levels are those of Karras et al., 0.002 the last above 0.
    """
    schedule = VarianceExploding(variance=80.0**2)
    meaning = Parameterisation(prediction="x0", precondition=True)
    denoiser = NetworkDenoiser(Dummy(0), schedule, meaning, sigma_data=0.5)
    times = make_grid(schedule, 10, "karras", (0.002, 80.0))
    *_, last = get_sampler("ddim").run(denoiser, ramp() * math.sqrt(80.0**2 + 1), times, lambda k: ramp())
    assert last.x.abs().sum().item() == pytest.approx(34.1855, abs=1e-3)
    assert last.x.abs().mean().item() == pytest.approx(0.044, abs=6e-4)
