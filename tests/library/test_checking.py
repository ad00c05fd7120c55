"""Annotations are checked while the tests run; these tests would fail if they were not."""

import pytest
import torch
from jaxtyping import TypeCheckError

from gendi.diffusion.gaussian.process import x0_from_eps
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.diffusion.randomness import normal


def test_shapes_dtypes_and_types_are_checked() -> None:
    one = torch.ones(2)
    with pytest.raises(TypeCheckError):
        x0_from_eps(torch.zeros(2, 1), torch.zeros(1, 2), one, one)  # would broadcast to (2, 2)
    with pytest.raises(TypeCheckError):
        make_schedule("linear")(torch.tensor([0, 1]))
    with pytest.raises(TypeCheckError):
        normal((2,), "0", "noise")  # type: ignore[arg-type]
