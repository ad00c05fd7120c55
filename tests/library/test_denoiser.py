import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from worlds import SCHEDULES, covariance, f64, gaussian, scalar

from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import (
    Denoiser,
    LearnedVariance,
    NetworkDenoiser,
    coefficients,
    make_denoiser,
    step_before,
)
from gendi.diffusion.gaussian.exact import GaussianDenoiser
from gendi.diffusion.gaussian.process import Process
from gendi.diffusion.gaussian.samplers import get_sampler, make_grid
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.errors import UsageError

PARAMETERISATIONS = [("eps", False), ("x0", False), ("v", False), ("eps", True)]
WITH_MU = [*PARAMETERISATIONS, ("mu", False)]
SIGMA_DATA = 0.7


class Knowing(nn.Module):
    """A network whose output F makes its denoiser exact. It sees the integer step, so it knows t."""

    def __init__(self, exact: GaussianDenoiser, prediction: str, precondition: bool) -> None:
        super().__init__()
        self.exact, self.prediction, self.precondition = exact, prediction, precondition

    def forward(self, scaled: Tensor, step: Tensor, **cond: Tensor) -> Tensor:
        assert self.exact.schedule.steps is not None
        t = step.double() / self.exact.schedule.steps
        alpha, sigma = (c[:, None] for c in self.exact.schedule(t))
        s = SIGMA_DATA
        x_t = scaled * (sigma**2 + alpha**2 * s**2).sqrt() if self.precondition else scaled
        x_0 = self.exact(x_t, t)
        eps = (x_t - alpha * x_0) / sigma
        if self.precondition:  # Karras et al. 2022, table 1, on x_t / alpha whose noise level is sigma / alpha
            level = sigma / alpha
            return (x_0 - s**2 / (level**2 + s**2) * x_t / alpha) / (level * s / (level**2 + s**2).sqrt())
        if self.prediction == "mu":
            return self.step_mean(x_t, x_0, t)
        return {"eps": eps, "x0": x_0, "v": alpha * eps - sigma * x_0}[self.prediction]

    def step_mean(self, x_t: Tensor, x_0: Tensor, t: Tensor) -> Tensor:
        """Ho et al. 2020, eq. 7, for any alpha and sigma, with s = t - 1/T."""
        (alpha, sigma), (alpha_s, sigma_s) = (
            [c[:, None] for c in self.exact.schedule(time)]
            for time in (t, (t - 1 / self.exact.schedule.steps).clamp(min=0))
        )
        beta = sigma**2 - (alpha / alpha_s * sigma_s) ** 2
        return (alpha / alpha_s * sigma_s**2 * x_t + alpha_s * beta * x_0) / sigma**2


def knowing(schedule: Schedule, prediction: str, precondition: bool) -> tuple[GaussianDenoiser, NetworkDenoiser]:
    exact = GaussianDenoiser(schedule, f64(1, -1, 0), covariance(3))
    objective = Parameterisation(prediction=prediction, precondition=precondition)
    network = Knowing(exact, prediction, precondition)
    return exact, NetworkDenoiser(network, schedule, objective, SIGMA_DATA, "step")


@pytest.mark.parametrize(("prediction", "precondition"), WITH_MU)
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_parameterisation_represents_the_exact_denoiser(name: str, prediction: str, precondition: bool) -> None:
    exact, denoiser = knowing(make_schedule(name, 1000), prediction, precondition)
    t, x_t = f64(1, 2, 500, 999, 1000) / 1000, gaussian(5, 3)
    torch.testing.assert_close(denoiser(x_t, t), exact(x_t, t), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpmpp-2m"])
def test_every_parameterisation_gives_the_same_samples(sampler: str) -> None:
    schedule, start = make_schedule("linear", 1000), gaussian(4, 3, seed=1)
    times = make_grid(schedule, 12, "karras")
    ends = []
    for prediction, precondition in WITH_MU:
        exact, denoiser = knowing(schedule, prediction, precondition)
        for d in (exact, denoiser):
            *_, last = get_sampler(sampler).run(d, start, times, lambda k: gaussian(4, 3, seed=k))
            ends.append(last.x)
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-8, atol=1e-8)


def test_edm_is_karras_table_1() -> None:
    sigma, s = f64(0.002, 0.1, 1, 80), 0.5
    c = coefficients("eps", True, s, torch.ones_like(sigma), sigma)
    torch.testing.assert_close(c.c_skip, s**2 / (sigma**2 + s**2), rtol=1e-12, atol=0)
    torch.testing.assert_close(c.c_out, sigma * s / (sigma**2 + s**2).sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(c.c_in, 1 / (sigma**2 + s**2).sqrt(), rtol=1e-12, atol=0)


@given(st.sampled_from(SCHEDULES), st.floats(1e-3, 1), st.floats(0.05, 5))
def test_edm_input_and_target_have_unit_variance(name: str, t: float, s: float) -> None:
    """Karras et al. 2022, appendix B.6, derive the coefficients from this, for x_0 of variance s^2."""
    alpha, sigma = make_schedule(name)(scalar(t))
    c = coefficients("eps", True, s, alpha, sigma)
    assert (c.c_in**2 * (alpha**2 * s**2 + sigma**2)).item() == pytest.approx(1)
    of_x0 = c.target(f64(1), f64(0), alpha, sigma).item()
    of_eps = c.target(f64(0), f64(1), alpha, sigma).item()
    assert of_x0**2 * s**2 + of_eps**2 == pytest.approx(1, rel=1e-7)


@given(st.sampled_from(SCHEDULES), st.floats(1e-3, 1), st.sampled_from(PARAMETERISATIONS))
def test_the_target_is_the_output_that_would_be_right(name: str, t: float, kind: tuple[str, bool]) -> None:
    x_0, eps = gaussian(2, 5), gaussian(2, 5, seed=1)
    alpha, sigma = make_schedule(name)(scalar(t))
    c = coefficients(*kind, SIGMA_DATA, alpha, sigma)
    answer = c.c_skip * (alpha * x_0 + sigma * eps) + c.c_out * c.target(x_0, eps, alpha, sigma)
    torch.testing.assert_close(answer, x_0, rtol=1e-9, atol=1e-9)


@given(st.sampled_from(SCHEDULES), st.floats(1e-3, 1))
def test_targets_by_definition(name: str, t: float) -> None:
    x_0, eps = gaussian(2, 5), gaussian(2, 5, seed=1)
    alpha, sigma = make_schedule(name)(scalar(t))
    for prediction, expected in (("eps", eps), ("x0", x_0), ("v", alpha * eps - sigma * x_0)):
        target = coefficients(prediction, False, 1.0, alpha, sigma).target(x_0, eps, alpha, sigma)
        torch.testing.assert_close(target, expected, rtol=1e-11, atol=1e-11)


def test_the_network_sees_the_integer_step_or_c_noise() -> None:
    schedule = make_schedule("linear", 1000)
    step = NetworkDenoiser(nn.Identity(), schedule, Parameterisation(), time_input="step")
    t = schedule.grid()[1:]
    assert step.time_value(t).tolist() == list(range(1, 1001))
    c_noise = NetworkDenoiser(nn.Identity(), schedule, Parameterisation(), time_input="log-snr").time_value(t)
    alpha, sigma = schedule(t)
    assert c_noise.dtype == torch.float32
    torch.testing.assert_close(c_noise.double(), (sigma / alpha).log() / 4, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("time_input", ["step", "log-snr"])
def test_above_a_level_a_network_is_told_no_higher_one(time_input: str) -> None:
    """sigma / alpha = 5 sigma_data; below it, and in all that multiplies x_t and the output, nothing changes."""
    schedule, options = make_schedule("linear", 1000), {"sigma_data": 0.5, "time_input": time_input}
    free, ending = (NetworkDenoiser(Echo(), schedule, Parameterisation(), **options) for _ in range(2))
    ending.far = 5.0
    t = schedule.grid()[1:]
    alpha, sigma = schedule(t)
    far = sigma / alpha > 2.5
    found, expected = ending.time_value(t).double(), free.time_value(t).double()
    assert 100 < int(far.sum()) < 900
    assert torch.equal(found[~far], expected[~far])
    end = math.log(2.5) / 4 if time_input == "log-snr" else float(schedule.time(scalar(-2 * math.log(2.5))) * 1000)
    torch.testing.assert_close(found[far], torch.full_like(found[far], end), rtol=1e-6, atol=1e-6)
    for each, other in zip(*(vars(made.coefficients(t)).values() for made in (free, ending)), strict=True):
        assert torch.equal(each, other)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_target_of_mu_is_the_mean_of_the_step(name: str) -> None:
    """This also holds between steps, where s is still 1/T below t, and at the first step, where the mean is x_0."""
    exact, denoiser = knowing(make_schedule(name, 1000), "mu", False)
    t = f64(0.7, 1, 1.5, 2, 500.25, 999, 1000) / 1000
    x_0, eps = gaussian(7, 3), gaussian(7, 3, seed=1)
    alpha, sigma = exact.schedule(t)
    target = denoiser.coefficients(t).target(x_0, eps, alpha, sigma)
    x_t = alpha[:, None] * x_0 + sigma[:, None] * eps
    network = denoiser.network
    assert isinstance(network, Knowing)
    torch.testing.assert_close(target, network.step_mean(x_t, x_0, t), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(target[:2], x_0[:2], rtol=1e-12, atol=1e-12)


def test_a_network_of_two_outputs_says_its_variance() -> None:
    """The share is (F' + 1) / 2 (Nichol & Dhariwal 2021), so outputs of -1 and 1 are its two ends."""
    schedule, x_t, t = make_schedule("linear", 1000), gaussian(4, 3), scalar(0.3)

    class Two(nn.Module):
        def forward(self, x: Tensor, time_value: Tensor, **cond: Tensor) -> Tensor:
            return torch.cat([x, torch.tensor([[-1.0], [0.0], [1.0], [5.0]]).to(x).expand(4, 3)], 1)

    for prediction in ("eps", "x0", "v", "mu"):
        learned = Parameterisation(prediction=prediction, variance="learned")
        denoiser = make_denoiser(Two(), schedule, learned, clip=0.4)
        fixed = make_denoiser(Echo(), schedule, Parameterisation(prediction=prediction), clip=0.4)
        assert isinstance(denoiser, LearnedVariance)
        assert isinstance(fixed, Denoiser) and not isinstance(fixed, LearnedVariance)
        x_0, share = denoiser.predict(x_t, t)
        assert torch.equal(x_0, fixed(x_t, t))
        assert torch.equal(denoiser(x_t, t), x_0)
        assert torch.equal(share, f64(0, 0.5, 1, 3)[:, None].expand(4, 3))
        log_variance = Process(schedule).reverse_log_variance(t, t - 0.001, share)
        ends = [Process(schedule).reverse_log_variance(t, t - 0.001, end) for end in (0.0, 1.0)]
        torch.testing.assert_close(log_variance[::2, 0], torch.stack(ends), rtol=1e-12, atol=0)


def test_clip_bounds_the_answer_and_nothing_else() -> None:
    _, free = knowing(make_schedule("linear", 1000), "v", False)
    x_t, t = 3 * gaussian(6, 3), scalar(0.3)
    before, answer = x_t.clone(), free(x_t, t)
    free.clip = 0.5
    assert torch.equal(free(x_t, t), answer.clamp(-0.5, 0.5))
    assert torch.equal(x_t, before)


def test_one_time_for_all_is_the_same_time_for_each() -> None:
    _, denoiser = knowing(make_schedule("cosine", 1000), "eps", False)
    x_t, t = gaussian(4, 3), scalar(0.3)
    assert torch.equal(denoiser(x_t, t), denoiser(x_t, t.expand(4)))


class Echo(nn.Module):
    """Return the input through a matrix product, which autocast would run in bf16; remember the conditions."""

    cond: dict[str, Tensor]

    def forward(self, x: Tensor, time_value: Tensor, **cond: Tensor) -> Tensor:
        self.cond = cond
        return x @ torch.eye(x.shape[-1], dtype=x.dtype)


class Shorter(nn.Module):
    """Forget the first sample."""

    def forward(self, x: Tensor, time_value: Tensor, **cond: Tensor) -> Tensor:
        return x[1:]


def test_bf16_is_for_the_network_alone() -> None:
    """The network's output is rounded to 8 bits; the denoiser's answer is this output, scaled in float32."""
    schedule, x_t, t = make_schedule("linear", 1000), gaussian(4, 3).float(), scalar(0.5)
    alpha, sigma = (c.float() for c in schedule(t))
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        answer = NetworkDenoiser(Echo(), schedule, Parameterisation(prediction="v"), precision=precision)(x_t, t)
        assert answer.dtype == torch.float32
        torch.testing.assert_close(answer, alpha * x_t - sigma * x_t.to(dtype).float(), rtol=1e-5, atol=1e-6)


def test_conditions_reach_the_network() -> None:
    network, labels = Echo(), torch.tensor([3, 1])
    NetworkDenoiser(network, make_schedule("cosine"), Parameterisation())(gaussian(2, 3), scalar(0.5), label=labels)
    assert network.cond["label"] is labels


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UsageError, match="'x0'"):
        coefficients("x_0", False, 1.0, scalar(1), scalar(1))
    with pytest.raises(UsageError, match="steps"):
        NetworkDenoiser(nn.Identity(), make_schedule("cosine"), Parameterisation(), time_input="step")
    with pytest.raises(UsageError, match="steps"):
        NetworkDenoiser(nn.Identity(), make_schedule("cosine"), Parameterisation(prediction="mu"))
    with pytest.raises(UsageError, match="continuous"):
        step_before(make_schedule("cosine"), scalar(0.5))
    learned = Parameterisation(variance="learned")
    with pytest.raises(UsageError, match="make_denoiser"):
        NetworkDenoiser(nn.Identity(), make_schedule("cosine", 1000), learned)
    for objective, expected in (
        (learned, r"\(4, 3\) for \(4, 3\): expected \(4, 6\)"),
        (Parameterisation(), r"\(3, 3\)"),
    ):
        network = Echo() if objective is learned else Shorter()
        with pytest.raises(UsageError, match=expected):
            make_denoiser(network, make_schedule("cosine", 1000), objective)(gaussian(4, 3), scalar(0.5))
