import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from losses import denoising_loss, draw_times
from scipy import stats
from torch import Tensor, nn

from gendi.data.order import batch_indices
from gendi.diffusion.gaussian.config import ObjectiveConfig, Parameterisation
from gendi.diffusion.gaussian.denoiser import NetworkDenoiser
from gendi.diffusion.gaussian.objectives import WEIGHTINGS
from gendi.diffusion.gaussian.objectives.weightings import Levels
from gendi.diffusion.gaussian.schedule import Schedule, make_schedule
from gendi.errors import UsageError

SIGMA_DATA = 0.6


class Toy(nn.Module):
    """Any function of what it is given; the tests never look inside."""

    def forward(self, x: Tensor, time: Tensor, **cond: Tensor) -> Tensor:
        return torch.tanh(1.5 * x + time.to(x).reshape(-1, 1, 1, 1) / 500) - 0.2 * x.flip(-1)


def batch(schedule: Schedule, n: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_0, eps = torch.randn((2, n, 2, 3, 4), generator=generator, dtype=torch.float64)
    t = torch.tensor([1, 2, 100, 500, 900, 1000], dtype=torch.float64)[:n] / 1000
    return x_0, t, eps


def rows(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def test_algorithm_1_to_the_letter() -> None:
    """|eps - eps_theta(sqrt(abar) x_0 + sqrt(1 - abar) eps, i)|^2, meaned over dimensions, with betas written out."""
    schedule = make_schedule("linear", 1000)
    objective = ObjectiveConfig(prediction="eps", weighting="simple", time_sampling="discrete")
    denoiser = NetworkDenoiser(Toy(), schedule, objective.parameterisation, time_input="step")
    x_0, t, eps = batch(schedule)
    abar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    expected = []
    for x, i, e in zip(x_0, (t * 1000).round().long().tolist(), eps):
        x_t = abar[i - 1].sqrt() * x + (1 - abar[i - 1]).sqrt() * e
        expected.append((e - Toy()(x_t[None], torch.tensor([float(i)]))[0]).square().mean())
    torch.testing.assert_close(
        denoising_loss(objective, denoiser, x_0, t, eps), torch.stack(expected), rtol=1e-9, atol=1e-9
    )


@pytest.mark.parametrize("name", ["linear", "cosine", "variance-exploding"])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v", "edm"])
@pytest.mark.parametrize("weighting", ["simple", "min-snr", "edm", "uniform"])
def test_the_loss_weighs_the_error_of_the_denoiser(name: str, prediction: str, weighting: str) -> None:
    """w |x_0 - x0_hat|^2 with x0_hat from the denoiser itself and w as each paper prints it (level = sigma / alpha)."""
    schedule = make_schedule(name, 1000)
    kind = {"prediction": "v", "precondition": True} if prediction == "edm" else {"prediction": prediction}
    objective = ObjectiveConfig(weighting=weighting, min_snr_gamma=3.0, **kind)
    denoiser = NetworkDenoiser(Toy(), schedule, objective.parameterisation, SIGMA_DATA)
    x_0, t, eps = batch(schedule)
    alpha, sigma = (rows(c) for c in schedule(t))
    x_t = alpha * x_0 + sigma * eps
    answer = denoiser(x_t, t)
    level, s = sigma / alpha, SIGMA_DATA
    if weighting == "simple":  # the error of the noise that the answer implies
        expected = (eps - (x_t - alpha * answer) / sigma).square()
    elif weighting == "min-snr":
        expected = (1 / level**2).clamp(max=3.0) * (x_0 - answer).square()
    elif weighting == "edm":
        expected = (level**2 + s**2) / (level * s) ** 2 * (x_0 - answer).square()
    else:  # the error of the network's own output
        c_in = 1 / (sigma**2 + (alpha * s) ** 2).sqrt() if prediction == "edm" else torch.ones_like(alpha)
        out = Toy()(c_in * x_t, denoiser.time_value(t))
        target = {
            "eps": eps,
            "x0": x_0,
            "v": alpha * eps - sigma * x_0,
            "edm": (x_0 - s**2 / (level**2 + s**2) * x_t / alpha) * (level**2 + s**2).sqrt() / (level * s),
        }[prediction]
        expected = (out - target).square()
    # at i = 1 of the cosine the error of x_0 is divided by a variance of 4e-5, at i = 1000 by a signal of 2e-9
    torch.testing.assert_close(
        denoising_loss(objective, denoiser, x_0, t, eps), expected.flatten(1).mean(1), rtol=1e-6, atol=1e-7
    )


def test_edm_weighting_is_unit_weight_on_edms_output() -> None:
    schedule = make_schedule("cosine", 1000)
    x_0, t, eps = batch(schedule)
    losses = [
        denoising_loss(
            ObjectiveConfig(precondition=True, weighting=w),
            NetworkDenoiser(Toy(), schedule, Parameterisation(precondition=True), SIGMA_DATA),
            x_0,
            t,
            eps,
        )
        for w in ("edm", "uniform")
    ]
    torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-9)


def test_the_loss_of_float32_images_is_finite_float32_at_every_time() -> None:
    for name in ("linear", "cosine", "sigmoid", "variance-exploding"):
        schedule = make_schedule(name, 1000)
        x_0, t, eps = batch(schedule)
        for objective in (ObjectiveConfig(), ObjectiveConfig(prediction="eps"), ObjectiveConfig(precondition=True)):
            denoiser = NetworkDenoiser(Toy(), schedule, objective.parameterisation)
            loss = denoising_loss(objective, denoiser, x_0.float(), t, eps.float())
            assert loss.dtype == torch.float32
            assert bool(loss.isfinite().all())


def test_an_unknown_weighting_is_refused() -> None:
    with pytest.raises(UsageError, match="'min-snr'"):
        WEIGHTINGS.find("min-snt")


@pytest.mark.statistical
def test_discrete_times_are_uniform_on_the_steps() -> None:
    """Pearson's statistic of 20 cells stays below its quantile of 1 - 10^-6."""
    config, schedule, n = ObjectiveConfig(time_sampling="discrete"), make_schedule("linear", 20), 200
    draws = torch.cat([draw_times(config, schedule, 128, 0, step) for step in range(n)]) * 20
    counts = np.bincount(draws.round().long().numpy(), minlength=21)
    assert counts[0] == 0
    assert len(counts) == 21
    torch.testing.assert_close(draws, draws.round(), rtol=0, atol=1e-12)
    expected = n * 128 / 20
    assert ((counts[1:] - expected) ** 2 / expected).sum() < stats.chi2.ppf(1 - 1e-6, 19)


@given(st.integers(1, 200), st.integers(0, 1000))
def test_uniform_times_fall_one_in_each_slice(size: int, step: int) -> None:
    times = draw_times(ObjectiveConfig(time_sampling="uniform"), make_schedule("cosine"), size, 1, step)
    assert sorted((times * size).floor().long().tolist()) == list(range(size))


@given(st.integers(1, 100), st.floats(-2, 0.5), st.floats(0.3, 1.5), st.sampled_from((None, 1000)))
def test_log_normal_times_fall_one_in_each_slice_of_the_noise_levels_law(
    size: int, mean: float, std: float, steps: int | None
) -> None:
    """The probability of ln(sigma / alpha) under N(mean, std) is uniform; 1e-6 for inverses at the slices' borders."""
    config = ObjectiveConfig(time_sampling="log-normal", log_sigma_mean=mean, log_sigma_std=std)
    schedule = make_schedule("cosine", steps)
    times = draw_times(config, schedule, size, 1, 0)
    share = stats.norm.cdf((schedule.log_snr(times) / -2).numpy(), mean, std)
    position = np.sort(share) * size
    assert bool((position > np.arange(size) - 1e-6).all())
    assert bool((position < np.arange(size) + 1 + 1e-6).all())


@given(st.integers(1, 100), st.sampled_from(("linear", "cosine", "sigmoid")), st.sampled_from((None, 1000)))
def test_log_snr_times_fall_one_in_each_slice_of_the_range(size: int, name: str, steps: int | None) -> None:
    """1e-5 for inverses at the slices' borders."""
    config = ObjectiveConfig(time_sampling="log-snr", log_snr_min=-8.0, log_snr_max=13.0)
    schedule = make_schedule(name, steps)
    log_snr = schedule.log_snr(draw_times(config, schedule, size, 1, 0))
    position = (log_snr + 8).sort().values / 21 * size
    assert bool((position > torch.arange(size) - 1e-5).all())
    assert bool((position < torch.arange(size) + 1 + 1e-5).all())


@pytest.mark.parametrize("kind", ["discrete", "uniform", "log-normal", "log-snr"])
def test_times_are_keyed_and_in_no_order(kind: str) -> None:
    config, schedule = ObjectiveConfig(time_sampling=kind), make_schedule("linear", 1000)
    first = draw_times(config, schedule, 64, 0, 5)
    assert torch.equal(first, draw_times(config, schedule, 64, 0, 5))
    assert not torch.equal(first, draw_times(config, schedule, 64, 0, 6))
    assert not torch.equal(first, draw_times(config, schedule, 64, 1, 5))
    # the rank correlation with the row has deviation 1 / sqrt(63); 5 of those
    assert abs(stats.spearmanr(first.numpy(), np.arange(64)).statistic) < 5 / 63**0.5
    assert first.min() > 0
    assert first.max() <= 1


@given(st.integers(1, 30), st.integers(1, 70), st.integers(0, 3))
def test_every_epoch_visits_every_image_once(n: int, size: int, seed: int) -> None:
    steps = -(-4 * n // size)
    visited = np.concatenate([batch_indices(n, size, seed, step) for step in range(steps)])
    assert len(visited) == steps * size
    for epoch in visited[: 4 * n].reshape(4, n):
        assert sorted(epoch.tolist()) == list(range(n))


def test_the_order_of_images_does_not_depend_on_the_batch_size() -> None:
    small, large = (np.concatenate([batch_indices(11, size, 0, k) for k in range(66 // size)]) for size in (3, 22))
    assert np.array_equal(small, large)


def test_epochs_and_seeds_have_their_own_order() -> None:
    epochs = [batch_indices(50, 50, 0, k).tolist() for k in range(3)] + [batch_indices(50, 50, 1, 0).tolist()]
    assert len({tuple(order) for order in epochs}) == 4


def test_the_default_objective_can_be_changed_field_by_field() -> None:
    assert dataclasses.replace(ObjectiveConfig(), weighting="edm").weighting == "edm"


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid", "variance-exploding", "sub-vp", "rectified-flow"])
def test_the_weighting_of_the_bound_is_half_the_fall_of_the_signal_to_noise_ratio(name: str) -> None:
    """1/2 |d SNR / dt| [Kingma et al. 2021, eq. 17], by central differences, which err by O(h^2)."""
    schedule, t, h = make_schedule(name), torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64), 1e-6
    alpha, sigma = schedule(t)
    levels = Levels(t, alpha, sigma, torch.ones_like(t), schedule, SIGMA_DATA)
    fall = (schedule.log_snr(t - h).exp() - schedule.log_snr(t + h).exp()) / (2 * h)
    torch.testing.assert_close(WEIGHTINGS.find("bound")(levels, ObjectiveConfig()), fall / 2, rtol=1e-6, atol=0)
