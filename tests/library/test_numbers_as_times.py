"""A time may be a plain number wherever a person calls: it is the same as a tensor of shape ()."""

from typing import Any

import pytest
import torch

from gendi.diffusion import ClassifierFree, GaussianDenoiser, Linear, NetworkDenoiser, Process, make_schedule, score
from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.exact import ConditionalMixture
from gendi.diffusion.gaussian.sde import drift, ode_velocity
from gendi.errors import UsageError

SCHEDULE = make_schedule("linear", 1000)
X = torch.linspace(-1, 1, 6).reshape(3, 2)


class Halves(torch.nn.Module):
    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return x * time[:, None]


def world() -> GaussianDenoiser:
    return GaussianDenoiser(SCHEDULE, torch.ones(2), torch.tensor([[2.0, 0.5], [0.5, 1.0]]))


def mixture() -> ClassifierFree:
    two = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
    classes = {"class": torch.tensor([0, 1])}
    return ClassifierFree(
        ConditionalMixture(SCHEDULE, torch.full((2,), 0.5), two, torch.eye(2).repeat(2, 1, 1), classes), 2.0
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda t: SCHEDULE(t)[0],
        lambda t: SCHEDULE.rates(t)[1],
        lambda t: SCHEDULE.log_snr(t),
        lambda t: Process(SCHEDULE).sample(X, t, X.flip(0)),
        lambda t: Process(SCHEDULE).posterior(X, X.flip(0), t, t / 2)[0],
        lambda t: Process(SCHEDULE).reverse_log_variance(t, t / 2, 0.5),
        lambda t: world()(X, t),
        lambda t: NetworkDenoiser(Halves(), SCHEDULE, Parameterisation("v"))(X, t),
        lambda t: mixture()(X, t, **{"class": torch.tensor([0, 1, -1])}),
        lambda t: score(world(), X, t),
        lambda t: drift(SCHEDULE, X, t),
        lambda t: ode_velocity(world(), X, t),
    ],
)
def test_a_number_is_the_tensor_of_it(call: Any) -> None:
    assert torch.equal(call(0.5), call(torch.tensor(0.5, dtype=torch.float64)))


def test_the_score_at_a_number_is_that_of_the_density() -> None:
    """-S^-1 (x - alpha m) for the Gaussian S = alpha^2 C + sigma^2 I."""
    alpha, sigma = SCHEDULE(0.3)
    covariance = torch.tensor([[2.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    spread = alpha**2 * covariance + sigma**2 * torch.eye(2)
    expected = -torch.linalg.solve(spread, (X - alpha * torch.ones(2)).double().T).T
    torch.testing.assert_close(score(world(), X.double(), 0.3), expected)


def test_whole_times_are_the_ends() -> None:
    assert [float(value) for value in SCHEDULE(0)] == [1.0, 0.0]
    assert torch.equal(SCHEDULE(1)[0], SCHEDULE(torch.ones(()))[0])


def test_a_step_of_a_chain_is_answered_with_its_time() -> None:
    with pytest.raises(UsageError, match=r"got 500\. Step i of T = 1000 is the time i / T: write 500 / 1000"):
        SCHEDULE(500)
    with pytest.raises(UsageError, match="write 500 / 1000"):
        world()(X, 500)
    with pytest.raises(UsageError, match=r"got 500\. 0 is data and 1 is noise; step i of a chain of T steps is"):
        make_schedule("cosine")(500)
    with pytest.raises(UsageError, match=r"got 2000\. 0 is data"):  # no step of this chain
        SCHEDULE(2000)


def test_the_betas_of_the_linear_chain_are_the_papers() -> None:
    """From 1e-4 to 0.02 in even steps, alpha = 1 - beta, and their products.  [Ho et al. 2020, section 4]"""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    torch.testing.assert_close(SCHEDULE.betas, betas, rtol=1e-10, atol=0)
    torch.testing.assert_close(SCHEDULE.alphas, 1 - betas, rtol=1e-12, atol=0)
    torch.testing.assert_close(SCHEDULE.alpha_bar, (1 - betas).cumprod(0), rtol=1e-11, atol=0)
    torch.testing.assert_close(SCHEDULE.alpha_bar[499], SCHEDULE(500 / 1000)[0] ** 2)


def test_a_schedule_says_what_it_is() -> None:
    assert repr(make_schedule("cosine")) == "Schedule(cosine, continuous time)"
    assert repr(make_schedule("linear", steps=1000)) == "Schedule(linear, 1,000 steps)"


def test_continuous_time_has_no_betas() -> None:
    with pytest.raises(UsageError, match="continuous time.*steps=1000"):
        Linear().betas  # noqa: B018
