"""Power-function averages and their reconstruction, against brute-force weighted sums of a whole trajectory."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import Tensor, nn

from gendi.errors import BundleError, UsageError
from gendi.train.weights.posthoc_ema import (
    PowerAverages,
    Profile,
    gamma_to_sigma_rel,
    inner_product,
    list_snapshots,
    power_decay,
    reconstruct,
    sigma_rel_to_gamma,
    solve_weights,
)

STEPS, BATCH = 800, 10


def trajectory() -> Tensor:
    """A smooth drift that settles, plus a slow wave: (STEPS, 6) float32, one row after each step."""
    t = torch.linspace(0, 1, STEPS, dtype=torch.float64)[:, None]
    k = torch.arange(1, 7, dtype=torch.float64)
    return (torch.exp(-3 * t * k / 2) + 0.3 * torch.sin(5 * k * t)).float()


def brute(path: Tensor, gamma: float, steps: int) -> Tensor:
    """Return the average with weight (t^(gamma + 1)) over the images of each step, that is its profile's integral."""
    edges = (torch.arange(steps + 1, dtype=torch.float64) / steps) ** (gamma + 1)
    return (edges.diff()[:, None] * path[:steps].double()).sum(0)


def track(run: Path | None, every: int = 50, sigma_rels: tuple[float, ...] = (0.05, 0.10)) -> PowerAverages:
    network = nn.Linear(5, 1)
    averages = PowerAverages(network, sigma_rels)
    for step, row in enumerate(trajectory(), start=1):
        network.load_state_dict({"weight": row[None, :5], "bias": row[5:]})
        averages.update(network, BATCH)
        if run is not None and step % every == 0:
            averages.snapshot(run)
    return averages


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensors["weight"].flatten(), tensors["bias"]]).double()


def round_off(gamma: float) -> float:
    """Return what float32 may cost an average: a step rounds three times, by 2^-24 of the largest weight each, and
    (i / n)^(gamma + 1) of step i's error is left at the end, in all n / (gamma + 2) steps' worth.
    """
    return 3 * 2.0**-24 * float(trajectory().abs().max()) * (STEPS / (gamma + 2) + 1)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 6.94, 16.97, 100.0])
def test_sigma_rel_is_the_profiles_standard_deviation(gamma: float) -> None:
    mean, square = (quad(lambda u, p=p: (gamma + 1) * u**gamma * u**p, 0, 1)[0] for p in (1, 2))
    sigma_rel = gamma_to_sigma_rel(gamma)
    assert sigma_rel == pytest.approx(math.sqrt(square - mean**2), rel=1e-6)
    assert sigma_rel_to_gamma(sigma_rel) == pytest.approx(gamma, rel=1e-9, abs=1e-7)


def test_the_papers_exponents() -> None:
    """sigma_rel 0.05 and 0.10 are gamma 16.97 and 6.94.  [Karras et al. 2024, section 3.2]"""
    assert round(sigma_rel_to_gamma(0.05), 2) == 16.97
    assert round(sigma_rel_to_gamma(0.10), 2) == 6.94


def test_tracked_averages_are_the_weighted_sums() -> None:
    averages = track(None)
    for gamma, average in zip(averages.gammas, averages.averages, strict=True):
        expected = brute(trajectory(), gamma, STEPS)
        torch.testing.assert_close(flat(average), expected, rtol=0, atol=round_off(gamma))


def test_the_first_step_forgets_the_start_and_batches_may_change() -> None:
    assert power_decay(10, 10, 3.0) == 0
    # one step of 20 images is two steps of 10 with the same weights
    assert power_decay(30, 20, 3.0) == pytest.approx(power_decay(30, 10, 3.0) * power_decay(20, 10, 3.0))


@pytest.mark.parametrize(("a", "b"), [((100, 6.94), (100, 16.97)), ((50, 2.0), (80, 9.0)), ((90, 0.0), (30, 5.0))])
def test_inner_products_by_quadrature(a: tuple[int, float], b: tuple[int, float]) -> None:
    (s, g), (t, k) = a, b

    def product(u: float) -> float:
        return (g + 1) * u**g / s ** (g + 1) * (k + 1) * u**k / t ** (k + 1)

    expected = quad(product, 0, min(s, t), epsabs=0, epsrel=1e-12)[0]
    assert inner_product(Profile(s, g), Profile(t, k)) == pytest.approx(expected, rel=1e-9)


def test_a_target_that_is_a_snapshot_is_that_snapshot() -> None:
    snapshots = [Profile(100 * i, g) for i in range(1, 9) for g in (6.94, 16.97)]
    weights, distance = solve_weights(snapshots, snapshots[5])
    assert weights == pytest.approx([float(i == 5) for i in range(16)])
    assert distance == pytest.approx(0, abs=1e-7)


def test_the_weights_are_the_least_squares_ones_and_sum_to_one() -> None:
    """The same fit of sampled profiles by NumPy, whose midpoint rule errs by 1e-6 of a norm and a snapshot's end by one
    of 400,000 points. Profiles p integrate to 1, so the weights sum to 1 but for the integral of the misfit, at most
    its norm over [0, T] times sqrt(T) = distance |p| sqrt(T), |p|^2 = (gamma + 1)^2 / ((2 gamma + 1) T).
    """
    snapshots = [Profile(100 * i, g) for i in range(1, 9) for g in (6.94, 16.97)]
    target, n = Profile(800, 30.0), 400_000
    u = (np.arange(n) + 0.5) * 800 / n

    def profile(p: Profile) -> np.ndarray:
        return np.where(u <= p.images, (p.gamma + 1) / p.images * (u / p.images) ** p.gamma, 0.0)

    columns = np.stack([profile(p) for p in snapshots], 1)
    expected, *_ = np.linalg.lstsq(columns, profile(target), rcond=None)
    weights, distance = solve_weights(snapshots, target)
    residual = columns @ np.array(weights) - profile(target)
    best = columns @ expected - profile(target)
    assert np.linalg.norm(residual) == pytest.approx(np.linalg.norm(best), rel=1e-3)
    assert distance == pytest.approx(np.linalg.norm(best) / np.linalg.norm(profile(target)), rel=1e-3)
    assert abs(sum(weights) - 1) < distance * (target.gamma + 1) / math.sqrt(2 * target.gamma + 1)


@pytest.mark.parametrize("sigma_rel", [0.03, 0.05, 0.07, 0.10, 0.15, 0.2])
def test_any_length_after_training(tmp_path: Path, sigma_rel: float) -> None:
    """The error of an average is at most the profiles' distance in L1 times the weights' range; 16 pairs of snapshots
    bring it below 0.5% of that range (about 2 here).
    """
    track(tmp_path)
    got, distance = reconstruct(tmp_path, sigma_rel)
    expected = brute(trajectory(), sigma_rel_to_gamma(sigma_rel), STEPS)
    assert distance < 0.2
    torch.testing.assert_close(flat(got), expected, rtol=0, atol=0.01)


@pytest.mark.parametrize("sigma_rel", [0.03, 0.07, 0.15, 0.2])
def test_every_snapshot_gives_the_average_that_was_tracked_directly(tmp_path: Path, sigma_rel: float) -> None:
    """Weights theta about their mean c differ by |integral (q - p) (theta - c) + c (integral q - 1)|: at most
    distance |p|_2 (|theta - c|_2 + |c| sqrt T) by Cauchy-Schwarz, with |p|_2^2 = (gamma + 1)^2 / ((2 gamma + 1) T).
    """
    track(tmp_path)
    gamma = sigma_rel_to_gamma(sigma_rel)
    tracker = track(None, sigma_rels=(sigma_rel,))
    for step in (150, 400, 650, STEPS):
        got, distance = reconstruct(tmp_path, sigma_rel, images=step * BATCH)
        expected, path = brute(trajectory(), gamma, step), trajectory()[:step].double()
        spread = path.std(0, correction=0) + path.mean(0).abs()
        bound = distance * (gamma + 1) / math.sqrt(2 * gamma + 1) * spread + 20 * round_off(gamma)
        assert bool(((flat(got) - expected).abs() <= bound).all())
    torch.testing.assert_close(flat(tracker.averages[0]), expected, rtol=0, atol=round_off(gamma))


@pytest.mark.parametrize("sigma_rel", [0.03, 0.05, 0.1, 0.2])
def test_between_snapshots_no_average_can_be_put_together(tmp_path: Path, sigma_rel: float) -> None:
    """Nothing of T0 and before follows the profile after T0: the misfit is at least sqrt(1 - (T0 / T)^(2 gamma + 1)),
    and constant weights come out shrunk to the coefficients' sum. Both are why it is refused, naming the neighbours.
    """
    track(tmp_path)
    before, time, gamma = 400 * BATCH, 449 * BATCH, sigma_rel_to_gamma(sigma_rel)
    weights, distance = solve_weights(list(list_snapshots(tmp_path)), Profile(time, gamma))
    assert distance >= math.sqrt(1 - (before / time) ** (2 * gamma + 1)) - 1e-9
    assert sum(weights) < 0.9
    for images in (before + 1, time):
        with pytest.raises(UsageError, match=f"no snapshot was taken at {images} images.*at 4000 and 4500 images"):
            reconstruct(tmp_path, sigma_rel, images=images)


@pytest.mark.parametrize(("sigma_rel", "every"), [(0.001, 50), (0.28, STEPS // 2)])
def test_a_length_that_the_snapshots_cannot_follow_is_refused(tmp_path: Path, sigma_rel: float, every: int) -> None:
    track(tmp_path, every=every)
    with pytest.raises(UsageError, match=f"the length {sigma_rel:g} .* nearer to 0.05 and 0.1, which were tracked"):
        reconstruct(tmp_path, sigma_rel)


def test_lengths_that_were_tracked_come_back_to_the_bit_and_earlier_times_too(tmp_path: Path) -> None:
    averages = track(tmp_path)
    for sigma_rel, average in zip((0.05, 0.10), averages.averages, strict=True):
        got, distance = reconstruct(tmp_path, sigma_rel)
        assert distance < 1e-6
        assert all(torch.equal(got[name], average[name]) for name in average)
    got, _ = reconstruct(tmp_path, 0.08, images=400 * BATCH)
    expected = brute(trajectory(), sigma_rel_to_gamma(0.08), 400)
    torch.testing.assert_close(flat(got), expected, rtol=0, atol=0.01)


def test_restored_averages_go_on_bit_for_bit() -> None:
    network = nn.Linear(3, 2)
    one = PowerAverages(network)
    one.update(network, 5)
    with torch.no_grad():
        network.weight.add_(1)
    saved = {group: {k: v.clone() for k, v in t.items()} for group, t in one.tensors().items()}
    two = PowerAverages(nn.Linear(3, 2))
    two.restore(saved, one.images)
    for averages in (one, two):
        averages.update(network, 5)
    for a, b in zip(one.averages, two.averages, strict=True):
        assert all(torch.equal(a[k], b[k]) for k in a)


def test_files_round_trip_and_damage_is_named(tmp_path: Path) -> None:
    averages = track(tmp_path, every=STEPS)
    found = list_snapshots(tmp_path)
    assert list(found) == [Profile(STEPS * BATCH, gamma) for gamma in averages.gammas]
    path = next(iter(found.values()))
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(BundleError, match="average_0.safetensors"):
        reconstruct(tmp_path, 0.07)


def test_bad_input(tmp_path: Path) -> None:
    for sigma_rel in (0.0, -0.1, 0.3, math.nan):
        with pytest.raises(UsageError, match="out of range"):
            sigma_rel_to_gamma(sigma_rel)
    with pytest.raises(UsageError, match="at least 0"):
        gamma_to_sigma_rel(-0.5)
    for images, batch in ((10, 0), (5, 10)):
        with pytest.raises(UsageError, match="at least 1 image"):
            power_decay(images, batch, 1.0)
    with pytest.raises(UsageError, match="must differ"):
        PowerAverages(nn.Linear(1, 1), (0.1, 0.1))
    with pytest.raises(UsageError, match="before the first step"):
        PowerAverages(nn.Linear(1, 1)).snapshot(tmp_path)
    with pytest.raises(UsageError, match="no snapshots"):
        reconstruct(tmp_path, 0.1)
    with pytest.raises(UsageError, match="no snapshot was taken"):
        solve_weights([Profile(10, 1.0)], Profile(5, 1.0))
    with pytest.raises(UsageError, match="same average"):
        solve_weights([Profile(10, 1.0), Profile(10, 1.0)], Profile(10, 1.0))
    track(tmp_path, every=400)
    for images in (1, 10**6):
        with pytest.raises(UsageError, match="out of range"):
            reconstruct(tmp_path, 0.1, images=images)
