"""Conditions that are computed from the images."""

import numpy as np
import pytest
import torch

from gendi.data.images.codec import ImageCodec
from gendi.data.images.low_resolution import derived, derived_condition, low_resolution
from gendi.errors import UsageError


@pytest.mark.parametrize(("height", "width", "factor"), [(8, 12, 4), (28, 28, 4), (7, 10, 3), (5, 9, 5), (4, 4, 2)])
def test_low_resolution_is_the_mean_of_each_block(
    rng: np.random.Generator, height: int, width: int, factor: int
) -> None:
    y = rng.integers(0, 256, (3, 2, height, width)).astype(np.float64)
    found = (low_resolution(torch.from_numpy(y / 127.5 - 1), factor).numpy() + 1) * 127.5
    for top in range(0, height, factor):
        for left in range(0, width, factor):
            block = (..., slice(top, top + factor), slice(left, left + factor))
            mean = y[block].mean(axis=(2, 3), keepdims=True)
            np.testing.assert_allclose(found[block], np.broadcast_to(mean, y[block].shape), atol=0.5 + 1e-9)
    np.testing.assert_allclose(found, np.rint(found), atol=1e-9, err_msg="a small picture is of bytes")


def test_low_resolution_of_itself_is_itself(rng: np.random.Generator) -> None:
    x = torch.from_numpy(rng.uniform(-1, 1, (2, 3, 9, 7)))
    once = low_resolution(x, 3)
    torch.testing.assert_close(low_resolution(once, 3), once, rtol=0, atol=1e-12)


def test_only_low_res_is_derived() -> None:
    codec = ImageCodec(3, 8, 6)
    spec = derived_condition("low-res:4", codec)
    assert spec is not None
    assert (spec.name, spec.kind, spec.size, spec.via) == ("low-res:4", "image", 3, "channels")
    assert derived_condition("class", codec) is None
    x = torch.zeros(2, 3, 8, 6)
    assert {name: value.shape for name, value in derived([spec], x).items()} == {"low-res:4": x.shape}


@pytest.mark.parametrize(
    "name", ["low-res", "low-res:", "low-res:1", "low-res:7", "low-res:x", "low-res:-4", "low-res4"]
)
def test_a_factor_that_cannot_be_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name}' is not possible: .* F from 2 to 6"):
        derived_condition(name, ImageCodec(3, 8, 6))
