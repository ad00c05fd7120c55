"""What an autoencoder learns by: each loss against its formula, computed in another way."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from gendi.diffusion.autoencoder.losses import (
    Transform,
    divergence,
    mean_psnr,
    noised,
    psnr,
    reconstruction_loss,
)


def pictures(n: int, side: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (n, 3, side, side))).float()


def test_a_picture_that_comes_back_as_it_was_has_no_loss() -> None:
    x = pictures(3, 16)
    assert torch.equal(reconstruction_loss(x, x.clone()), torch.zeros(3))


def test_a_shift_of_all_pixels_costs_itself_at_every_scale_and_nothing_in_the_gradient() -> None:
    x = pictures(2, 32)
    assert reconstruction_loss(x, x + 0.25).tolist() == pytest.approx([0.25, 0.25], rel=1e-5)


def test_the_loss_is_the_mean_over_four_scales_of_the_errors_of_values_and_gradients() -> None:
    x, y = pictures(2, 16), pictures(2, 16, 1)
    total = np.zeros(2)
    for scale in range(4):
        d = (x - y).double().numpy().reshape(2, 3, 16 >> scale, 1 << scale, 16 >> scale, 1 << scale).mean((3, 5))
        total += (
            abs(d).mean((1, 2, 3)) + abs(np.diff(d, axis=2)).mean((1, 2, 3)) + abs(np.diff(d, axis=3)).mean((1, 2, 3))
        )
    assert np.allclose(reconstruction_loss(x, y).numpy(), total / 4, rtol=1e-5)


def test_a_picture_too_small_for_four_scales_has_those_that_there_are() -> None:
    x, y = pictures(1, 3), pictures(1, 3, 1)
    d = (x - y).numpy()
    one = abs(d).mean() + abs(np.diff(d, axis=2)).mean() + abs(np.diff(d, axis=3)).mean()
    assert float(reconstruction_loss(x, y)) == pytest.approx(one, rel=1e-5)


def test_the_divergence_is_that_of_two_normal_laws_per_number() -> None:
    rng = np.random.default_rng(0)
    mean, log_variance = (torch.from_numpy(rng.normal(0, 1, (4, 2, 3, 3))) for _ in range(2))
    other = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(1), torch.ones(1)))
    assert torch.allclose(divergence(mean, log_variance), other.mean((1, 2, 3)))


def test_decibels_are_those_of_the_definition_in_bytes() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 5, 3, 8, 8)).astype(np.float64)
    expected = 10 * np.log10(255**2 / np.square(a - b).mean((1, 2, 3)))
    x, y = (torch.from_numpy(rows / 127.5 - 1) for rows in (a, b))
    assert np.allclose(psnr(x, y).numpy(), expected)
    assert math.isinf(float(psnr(x[:1], x[:1])))
    assert mean_psnr(torch.tensor([math.inf, 50.0])) == 75


def test_noise_is_a_share_of_the_deviation_of_each_channel() -> None:
    z = pictures(50, 16) * torch.tensor([1.0, 10.0, 100.0])[:, None, None]
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal(z.shape)).float()
    added = noised(z, 0.2, noise) - z
    assert torch.allclose(added, 0.2 * noise * z.std((0, 2, 3), correction=0)[:, None, None], atol=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_latents_and_pictures_are_turned_and_shrunk_alike(seed: int) -> None:
    """A plane that rises evenly stays one, so that away from the border squares of pixels average to their latents."""
    moved = Transform(np.random.default_rng(seed), (12, 12))
    moved.grid = max(5, moved.grid[0]), max(5, moved.grid[1])

    def plane(side: int) -> torch.Tensor:
        place = (torch.arange(side) + 0.5) / side
        return (2 * place[:, None] - 3 * place[None])[None, None]

    latents, picture = moved(plane(12)), moved(plane(48), 4)
    side = moved.grid[0]
    assert latents.shape[2:] == (side, side) and picture.shape[2:] == (4 * side, 4 * side)
    averaged = picture.reshape(1, 1, side, 4, side, 4).mean((3, 5))
    inner = averaged[..., 1:-1, 1:-1], latents[..., 1:-1, 1:-1]
    # the filter is sampled at whole places of its source, which moves a plane by less than an eighth of a place;
    # another turn or size would move it by a place and more
    assert float((inner[0] - inner[1]).abs().max()) < 3 / side / 8
    assert float(latents.std()) > 0.5


def test_every_turn_and_many_sizes_are_drawn_and_oblong_pictures_turn_by_halves_alone() -> None:
    drawn = [Transform(np.random.default_rng(seed), (16, 16)) for seed in range(200)]
    assert {moved.quarters for moved in drawn} == {0, 1, 2, 3}
    assert {moved.grid[0] for moved in drawn} == set(range(4, 17))
    oblong = [Transform(np.random.default_rng(seed), (16, 8)) for seed in range(50)]
    assert {moved.quarters for moved in oblong} == {0, 2}
    assert all(abs(moved.grid[0] - 2 * moved.grid[1]) <= 1 for moved in oblong)
