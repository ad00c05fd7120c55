"""The bound as a loss, against torch's distributions, scipy's normal law and the closed forms of a Gaussian world."""

import math

import pytest
import torch
from losses import denoising_loss
from scipy import stats
from torch import Tensor, nn

from gendi.diffusion.gaussian.config import ObjectiveConfig, Parameterisation
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser, make_denoiser
from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule

T = 40
HALF_BIN = 1 / 255
MEAN, VARIANCE = torch.tensor([0.2, -0.1, 0.4]).double(), torch.tensor([0.3, 0.05, 1.5]).double()


class Toy(nn.Module):
    """Any function of what it is given, with `outputs` tensors of x's shape."""

    def __init__(self, outputs: int = 1) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor, time: Tensor, **cond: Tensor) -> Tensor:
        first = torch.tanh(1.5 * x + time.to(x)[:, None] / 500) - 0.2 * x.flip(-1)
        return torch.cat([first, torch.sin(3 * x) + 0.5], 1) if self.outputs == 2 else first


class Exact(nn.Module):
    """The eps that makes the denoiser exact; it reads the integer step."""

    def __init__(self, exact: GaussianDenoiser) -> None:
        super().__init__()
        self.exact = exact

    def forward(self, x: Tensor, step: Tensor, **cond: Tensor) -> Tensor:
        t = step.double() / T
        alpha, sigma = (c[:, None] for c in self.exact.schedule(t))
        return (x - alpha * self.exact(x, t)) / sigma


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(i: int, n: int) -> Tensor:
    return torch.full((n,), i / T, dtype=torch.float64)


def chain(schedule: Schedule) -> tuple[Tensor, Tensor, Tensor]:
    """Return abar-like tables alpha_i, sigma_i^2 of i = 0..T, and beta_i of i = 1..T, from the marginals alone."""
    alpha, sigma = schedule(torch.arange(T + 1).double() / T)
    beta = sigma[1:] ** 2 - (alpha[1:] / alpha[:-1]) ** 2 * sigma[:-1] ** 2
    return alpha, sigma**2, beta


def by_hand(
    denoiser: NetworkDenoiser, x_0: Tensor, x_t: Tensor, i: int, share: Tensor, half_bin: float | None
) -> Tensor:
    """Return T L_i of each sample by Ho et al. 2020, eqs. 5, 7 and 13, from the denoiser's own answer."""
    alpha, var, beta = chain(denoiser.schedule)
    answer = denoiser(x_t, at(i, len(x_t)))
    below = max(i, 2)  # the first step takes the second's beta-tilde
    small = beta[below - 1] * var[below - 1] / var[below]
    scale = torch.exp(0.5 * (share * beta[i - 1].log() + (1 - share) * small.log()))
    if i > 1:

        def mean(x: Tensor) -> Tensor:
            w_t = alpha[i] / alpha[i - 1] * var[i - 1] / var[i]
            return w_t * x_t + alpha[i - 1] * beta[i - 1] / var[i] * x

        true, model = (
            torch.distributions.Normal(mean(x_0), small.sqrt()),
            torch.distributions.Normal(mean(answer), scale),
        )
        return T * torch.distributions.kl_divergence(true, model).mean(1)
    if half_bin is None:
        return -T * torch.distributions.Normal(answer, scale).log_prob(x_0).mean(1)
    upper = stats.norm.cdf(((x_0 + half_bin - answer) / scale).numpy())
    lower = stats.norm.cdf(((x_0 - half_bin - answer) / scale).numpy())
    upper[(x_0 > 1 - half_bin).numpy()], lower[(x_0 < -1 + half_bin).numpy()] = 1, 0
    return -T * torch.from_numpy(upper - lower).log().mean(1)


@pytest.mark.parametrize("variance", ["small", "large", "learned"])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "mu", "edm"])
@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid", "variance-exploding"])
def test_every_term_is_the_papers(name: str, prediction: str, variance: str) -> None:
    """Ten of the T terms, whatever the network predicts; differences of abar by hand keep 1e-10 of a beta."""
    learned = variance == "learned"
    objective = ObjectiveConfig(
        prediction="v" if prediction == "edm" else prediction,
        precondition=prediction == "edm",
        loss="vlb",
        variance="learned" if learned else "fixed",
        fixed_variance="small" if learned else variance,
    )
    meaning = objective.parameterisation
    denoiser = make_denoiser(Toy(meaning.outputs), make_schedule(name, T), meaning, 0.6, "step")
    x_0, eps = noise(5, 3).clamp(-1, 1), noise(5, 3, seed=1)
    for i in (1, 2, 3, 10, 20, 30, 38, 39, 40):
        t = at(i, 5)
        alpha, sigma = denoiser.schedule(t[0])
        x_t = alpha * x_0 + sigma * eps
        if learned:
            c_in = denoiser.coefficients(t).c_in
            share = (Toy(2)(c_in[:, None] * x_t, denoiser.time_value(t))[:, 3:] + 1) / 2
        else:
            share = torch.full_like(x_0, float(variance == "large" and i > 1))
        for half_bin in (HALF_BIN * 10, None) if i == 1 else (HALF_BIN,):
            got = denoising_loss(objective, denoiser, x_0, t, eps, None, half_bin)
            expected = by_hand(denoiser, x_0, x_t, i, share, half_bin)
            kept = expected.isfinite()  # scipy's difference of probabilities is 0 where the loss is above 700 nats
            assert bool(got.isfinite().all())
            assert bool(kept.any())
            torch.testing.assert_close(got[kept], expected[kept], rtol=1e-6, atol=1e-8)


def test_a_batch_of_many_steps_is_each_step_alone() -> None:
    """The first step's decoder among the others' KL, in any order."""
    objective = ObjectiveConfig(prediction="eps", loss="vlb")
    denoiser = NetworkDenoiser(Toy(), make_schedule("linear", T), objective.parameterisation, time_input="step")
    x_0, eps, t = noise(6, 3).clamp(-1, 1), noise(6, 3, seed=1), torch.tensor([7, 1, 40, 1, 2, 3]).double() / T
    together = denoising_loss(objective, denoiser, x_0, t, eps, None, HALF_BIN)
    for k in range(6):
        alone = denoising_loss(objective, denoiser, x_0[k : k + 1], t[k : k + 1], eps[k : k + 1], None, HALF_BIN)
        torch.testing.assert_close(together[k : k + 1], alone, rtol=1e-9, atol=0)


def exact_world(name: str) -> tuple[GaussianDenoiser, NetworkDenoiser]:
    schedule = make_schedule(name, T)
    exact = GaussianDenoiser(schedule, MEAN, VARIANCE.diag())
    return exact, NetworkDenoiser(Exact(exact), schedule, Parameterisation("eps"), time_input="step")


@pytest.mark.statistical
@pytest.mark.parametrize("fixed", ["small", "large"])
@pytest.mark.parametrize("name", ["linear", "cosine", "variance-exploding"])
def test_the_exact_denoisers_terms_are_the_closed_form(name: str, fixed: str) -> None:
    """E L_i = (log ratio + beta-tilde / var - 1 + w_0^2 r / var) / 2 with r the posterior variance of x_0 given x_i.

    The squared error is r times a chi-squared, so the mean of n has deviation sqrt(2 / n) of that part: 5 of those.
    """
    _, denoiser = exact_world(name)
    objective = ObjectiveConfig(prediction="eps", loss="vlb", fixed_variance=fixed)
    alpha, var, beta = chain(denoiser.schedule)
    n = 20_000
    x_0, eps = MEAN + VARIANCE.sqrt() * noise(n, 3), noise(n, 3, seed=1)
    for i in (2, 10, 39):
        small = beta[i - 1] * var[i - 1] / var[i]
        model = small if fixed == "small" else beta[i - 1]
        error = (alpha[i - 1] * beta[i - 1] / var[i]) ** 2 * VARIANCE * var[i] / (alpha[i] ** 2 * VARIANCE + var[i])
        constant = (model / small).log() + small / model - 1
        expected = 0.5 * T * (constant + error / model).mean().item()
        got = denoising_loss(objective, denoiser, x_0, at(i, n), eps).mean().item()
        assert abs(got - expected) < 5 * math.sqrt(2 / n) * 0.5 * T * (error / model).norm().item() / 3


def test_float32_terms_are_finite_with_finite_gradients_however_wrong_the_network() -> None:
    for prediction in ("eps", "x0", "v", "mu"):
        for name in ("linear", "cosine"):
            schedule = make_schedule(name, 1000)
            objective = ObjectiveConfig(prediction=prediction, loss="vlb", variance="learned")
            denoiser = make_denoiser(Toy(2), schedule, objective.parameterisation, time_input="step")
            x_0 = noise(5, 3).clamp(-1, 1).float().requires_grad_()
            t = torch.tensor([1, 2, 500, 999, 1000]).double() / 1000
            loss = denoising_loss(objective, denoiser, x_0, t, noise(5, 3, seed=1).float(), None, HALF_BIN)
            loss.sum().backward()
            assert loss.dtype == torch.float32
            assert bool(loss.isfinite().all())
            assert x_0.grad is not None and bool(x_0.grad.isfinite().all())
