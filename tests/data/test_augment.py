"""Flips and crops do what they say, the same again for the same step, and to pictures among the conditions alike."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gendi.data.images.augment import augment, windows
from gendi.data.images.codec import ImageCodec

FLIP: dict[str, Any] = {"flip": True, "crop": 1.0, "seed": 0}
CROP: dict[str, Any] = {"flip": False, "crop": 1.5, "seed": 0}
BOTH: dict[str, Any] = {"flip": True, "crop": 1.5, "seed": 0}


def pictures(n: int, channels: int = 3, height: int = 10, width: int = 8) -> torch.Tensor:
    levels = np.random.default_rng(0).integers(0, 256, (n, height, width, channels), dtype=np.uint8)
    return torch.from_numpy(levels)


def seen(y: torch.Tensor, options: dict[str, Any], step: int) -> torch.Tensor:
    return augment(y, {}, **options, step=step, batch_size=len(y))[0]


def test_without_either_nothing_is_touched() -> None:
    y = pictures(3)
    assert seen(y, {"flip": False, "crop": 1.0, "seed": 0}, 0) is y


def test_a_flip_is_the_exact_mirror_image_of_about_half() -> None:
    y, flipped = pictures(1000, 1, 3, 4), 0
    for step in range(4):
        out = seen(y, FLIP, step)
        same, mirrored = (out == y).all(3).all(2).all(1), (out == y.flip(2)).all(3).all(2).all(1)
        assert bool((same | mirrored).all())
        flipped += int(mirrored.sum())
    assert abs(flipped - 2000) < 5 * (4000 / 4) ** 0.5  # a binomial's five standard deviations


@pytest.mark.parametrize("options", [FLIP, CROP, BOTH], ids=["flip", "crop", "both"])
def test_encoded_bytes_are_what_augmented_floats_were(options: dict[str, Any]) -> None:
    """Pictures were augmented in [-1, 1], after encoding, and rounded to bytes there. Not a bit is different."""
    y = pictures(40)
    codec = ImageCodec(3, 10, 8)
    x, boxes = codec.encode(y), windows(40, **options, step=7)
    if options["crop"] == 1:
        expected = torch.where((boxes[:, 0, 0] < 0)[:, None, None, None], x.flip(3), x)
    else:
        grid = F.affine_grid(boxes.to(x), list(x.shape), align_corners=False)
        found = F.grid_sample(x, grid, mode="bicubic", padding_mode="border", align_corners=False)
        expected = found.clamp_(-1, 1).add_(1).mul_(127.5).round_().div_(127.5).sub_(1)
    assert torch.equal(codec.encode(seen(y, options, 7)), expected)


@pytest.mark.parametrize("options", [FLIP, CROP, BOTH], ids=["flip", "crop", "both"])
def test_the_same_step_is_the_same_and_others_are_not(options: dict[str, Any]) -> None:
    y = pictures(16)
    one, again, other = (seen(y, options, step) for step in (5, 5, 6))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, seen(y, options | {"seed": 1}, 5))


def test_a_part_of_a_batch_is_that_part_of_the_whole() -> None:
    y = pictures(16)
    part = augment(y[4:9], {}, **BOTH, step=5, batch_size=16, part=slice(4, 9))[0]
    assert torch.equal(part, seen(y, BOTH, 5)[4:9])


@pytest.mark.parametrize("options", [FLIP, CROP, BOTH], ids=["flip", "crop", "both"])
def test_a_condition_that_is_a_picture_goes_along(options: dict[str, Any]) -> None:
    y = pictures(16)
    cond = {"depth": y[..., :1], "class": torch.arange(16), "pose": torch.ones(16, 4)}
    out, told = augment(y, cond, **options, step=3, batch_size=16)
    assert torch.equal(told["depth"], out[..., :1])
    assert torch.equal(told["class"], cond["class"]) and torch.equal(told["pose"], cond["pose"])
    assert list(told) == list(cond)


def test_windows_lie_within_the_picture_and_have_every_size() -> None:
    maps = windows(5000, **BOTH, step=0).double()
    scale, shift = maps[:, 0, 0].abs(), maps[:, :, 2]
    assert torch.equal(scale, maps[:, 1, 1]) and not maps[:, 0, 1].any() and not maps[:, 1, 0].any()
    assert bool((scale[:, None] + shift.abs() <= 1 + 1e-6).all())
    z = 1 / scale  # uniform in [1, 1.5]: mean 1.25, deviation 0.5 / sqrt(12), of the mean 0.002
    assert abs(float(z.mean()) - 1.25) < 0.01 and 1 <= z.min() < 1.01 and 1.49 < z.max() <= 1.5 + 1e-6


def test_a_crop_of_a_ramp_is_the_ramp_between_the_window_s_edges() -> None:
    """What is seen at a pixel of a ramp says where it came from.

    Torch's cubic kernel (a = -0.75) misplaces what it interpolates by up to 0.0482 pixels: the greatest of
    |sum_i w(t - i) i - t| over t. Rounding to bytes adds half a byte at the end, and half a byte before, which the
    kernel enlarges by up to 1.375, the greatest of sum_i |w(t - i)|.
    """
    height = width = 40
    tolerance = 0.0482 * 1.8 / (width - 1) + (1 + 1.375) / 255 + 1e-5
    ramp = torch.linspace(-0.9, 0.9, width).expand(1, height, width)
    x = torch.stack([ramp, ramp.transpose(1, 2)]).repeat(4, 1, 1, 1)  # across, then down
    codec = ImageCodec(1, height, width)
    out, maps = codec.encode(seen(codec.decode(x), BOTH, 2)), windows(8, **BOTH, step=2)
    centres = (2 * torch.arange(width) + 1) / width - 1
    for i in range(8):
        axis = i % 2
        place = maps[i, axis, axis] * centres + maps[i, axis, 2]  # in [-1, 1] of the picture's edges
        column = (place + 1) * width / 2 - 0.5
        expected = -0.9 + 1.8 * column / (width - 1)
        inside = (column > 2) & (column < width - 3)
        shown = out[i, 0] if axis == 0 else out[i, 0].T
        torch.testing.assert_close(shown[:, inside], expected[inside].expand(height, -1), rtol=0, atol=tolerance)
