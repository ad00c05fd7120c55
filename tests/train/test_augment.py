"""Flips and crops do what they say, the same again for the same step, and to pictures among the conditions alike."""

import dataclasses

import numpy as np
import pytest
import torch

from gendi.train.augment import augment, windows
from gendi.train.config import TrainConfig

FLIP, CROP = TrainConfig(flip=True), TrainConfig(crop=1.5)
BOTH = TrainConfig(flip=True, crop=1.5)


def pictures(n: int, channels: int = 3, height: int = 10, width: int = 8) -> torch.Tensor:
    levels = np.random.default_rng(0).integers(0, 256, (n, channels, height, width))
    return torch.from_numpy(levels).float() / 127.5 - 1


def test_without_either_nothing_is_touched() -> None:
    x = pictures(3)
    assert augment(x, {}, TrainConfig(), 0)[0] is x


def test_a_flip_is_the_exact_mirror_image_of_about_half() -> None:
    x, flipped = pictures(1000, 1, 3, 4), 0
    for step in range(4):
        out = augment(x, {}, FLIP, step)[0]
        same, mirrored = (out == x).all((1, 2, 3)), (out == x.flip(3)).all((1, 2, 3))
        assert bool((same | mirrored).all())
        flipped += int(mirrored.sum())
    assert abs(flipped - 2000) < 5 * (4000 / 4) ** 0.5  # a binomial's five standard deviations


@pytest.mark.parametrize("config", [FLIP, CROP, BOTH], ids=["flip", "crop", "both"])
def test_the_same_step_is_the_same_and_others_are_not(config: TrainConfig) -> None:
    x = pictures(16)
    one, again, other = (augment(x, {}, config, step)[0] for step in (5, 5, 6))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, augment(x, {}, dataclasses.replace(config, seed=1), 5)[0])


@pytest.mark.parametrize("config", [FLIP, CROP, BOTH], ids=["flip", "crop", "both"])
def test_a_condition_that_is_a_picture_goes_along(config: TrainConfig) -> None:
    x = pictures(16)
    cond = {"depth": x[:, :1], "class": torch.arange(16), "pose": torch.ones(16, 4)}
    out, told = augment(x, cond, config, 3)
    assert torch.equal(told["depth"], out[:, :1])
    assert torch.equal(told["class"], cond["class"]) and torch.equal(told["pose"], cond["pose"])
    assert list(told) == list(cond)


def test_windows_lie_within_the_picture_and_have_every_size() -> None:
    maps = windows(5000, BOTH, 0).double()
    scale, shift = maps[:, 0, 0].abs(), maps[:, :, 2]
    assert torch.equal(scale, maps[:, 1, 1]) and not maps[:, 0, 1].any() and not maps[:, 1, 0].any()
    assert bool((scale[:, None] + shift.abs() <= 1 + 1e-6).all())
    z = 1 / scale  # uniform in [1, 1.5]: mean 1.25, deviation 0.5 / sqrt(12), of the mean 0.002
    assert abs(float(z.mean()) - 1.25) < 0.01 and 1 <= z.min() < 1.01 and 1.49 < z.max() <= 1.5 + 1e-6


def test_a_crop_of_a_ramp_is_the_ramp_between_the_window_s_edges() -> None:
    """What is seen at a pixel of a ramp says where it came from.

    Torch's cubic kernel (a = -0.75) misplaces what it interpolates by up to 0.0482 pixels: the greatest of
    |sum_i w(t - i) i - t| over t; rounding to bytes adds half a byte.
    """
    height = width = 40
    tolerance = 0.0482 * 1.8 / (width - 1) + 1 / 255 + 1e-5
    ramp = torch.linspace(-0.9, 0.9, width).expand(1, height, width)
    x = torch.stack([ramp, ramp.transpose(1, 2)]).repeat(4, 1, 1, 1)  # across, then down
    out, maps = augment(x, {}, BOTH, 2)[0], windows(8, BOTH, 2)
    centres = (2 * torch.arange(width) + 1) / width - 1
    for i in range(8):
        axis = i % 2
        place = maps[i, axis, axis] * centres + maps[i, axis, 2]  # in [-1, 1] of the picture's edges
        column = (place + 1) * width / 2 - 0.5
        expected = -0.9 + 1.8 * column / (width - 1)
        inside = (column > 2) & (column < width - 3)
        seen = out[i, 0] if axis == 0 else out[i, 0].T
        torch.testing.assert_close(seen[:, inside], expected[inside].expand(height, -1), rtol=0, atol=tolerance)


def test_what_comes_out_is_bytes_in_range() -> None:
    levels = (augment(pictures(50), {}, BOTH, 0)[0] + 1) * 127.5
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)
    assert levels.min() >= 0 and levels.max() <= 255 + 1e-4
