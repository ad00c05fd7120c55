"""Linear measurements: the adjoint's definition over shapes, and each operator against its own formula."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from worlds import gaussian

from gendi.diffusion.gaussian.inverse.operators import Blur, Function, Mask, Operator, Pool
from gendi.errors import UsageError

side, batch, channels = st.integers(1, 9), st.integers(1, 3), st.integers(1, 3)


def draw(operator: Operator, batch: int, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    return gaussian(batch, *shape), gaussian(batch, *operator.y_shape(shape), seed=1)


def is_adjoint(operator: Operator, batch: int, shape: tuple[int, ...]) -> None:
    """Return whether <A x, y> = <x, A^T y> for each sample, and A x has the shape of `y_shape`, in float64."""
    x, y = draw(operator, batch, shape)
    forward, back = operator(x), operator.adjoint(y)
    assert isinstance(operator, Operator)
    assert forward.shape == y.shape and back.shape == x.shape and forward.dtype == back.dtype == torch.float64
    torch.testing.assert_close((forward * y).flatten(1).sum(1), (x * back).flatten(1).sum(1), rtol=1e-12, atol=1e-12)
    assert operator(x.float()).dtype == operator.adjoint(y.float()).dtype == torch.float32


@given(batch, channels, side, side, st.integers(2, 4))
def test_pooling(batch: int, channels: int, height: int, width: int, factor: int) -> None:
    is_adjoint(Pool(factor), batch, (channels, height * factor, width * factor))


@given(batch, channels, side, side, st.floats(0.1, 5))
def test_blur(batch: int, channels: int, height: int, width: int, std: float) -> None:
    is_adjoint(Blur(std), batch, (channels, height, width))


@given(batch, st.lists(st.booleans(), min_size=2, max_size=12).filter(lambda known: 0 < sum(known) < len(known)))
def test_mask_of_vectors_and_of_pictures(batch: int, known: list[bool]) -> None:
    mask = Mask(torch.tensor(known))
    is_adjoint(mask, batch, (len(known),))
    is_adjoint(mask, batch, (2, 3, len(known)))


@given(batch, st.integers(1, 7), st.integers(1, 7))
def test_a_function_of_ones_own(batch: int, m: int, d: int) -> None:
    matrix = gaussian(m, d, seed=2)
    operator = Function(lambda x: x @ matrix.T.to(x), (d,))
    is_adjoint(operator, batch, (d,))
    y = gaussian(batch, m, seed=3)
    torch.testing.assert_close(operator.adjoint(y), y @ matrix, rtol=1e-12, atol=1e-12)


def test_the_adjoint_of_a_function_works_where_gradients_are_off() -> None:
    operator, pool = Function(Pool(2), (1, 4, 4)), Pool(2)
    y = gaussian(3, 1, 2, 2)
    with torch.inference_mode():
        torch.testing.assert_close(operator.adjoint(y.clone()), pool.adjoint(y))


def test_pooling_is_the_mean_of_blocks() -> None:
    x = torch.arange(16, dtype=torch.float64).reshape(1, 1, 4, 4)
    assert Pool(2)(x).tolist() == [[[[2.5, 4.5], [10.5, 12.5]]]]
    x = gaussian(2, 3, 6, 9)
    torch.testing.assert_close(Pool(3)(x), torch.nn.functional.avg_pool2d(x, 3))


def test_blur_is_a_convolution_inside_and_leaves_grey_grey() -> None:
    """A point in the middle becomes the product of two Gaussians, normed over whole pixels."""
    x = torch.zeros(1, 1, 21, 21, dtype=torch.float64)
    x[0, 0, 10, 10] = 1
    kernel = torch.exp(-0.5 * (torch.arange(-10, 11, dtype=torch.float64) / 1.5).square())
    kernel = torch.where(torch.arange(-10, 11).abs() <= 6, kernel, 0)
    kernel = kernel / kernel.sum()
    blurred = Blur(1.5)(x)[0, 0]
    torch.testing.assert_close(blurred[6:15, 6:15], torch.outer(kernel, kernel)[6:15, 6:15], rtol=1e-12, atol=0)
    grey = torch.full((1, 3, 5, 8), 0.3, dtype=torch.float64)
    torch.testing.assert_close(Blur(2.0)(grey), grey)


def test_a_mask_keeps_what_is_known() -> None:
    x = gaussian(2, 3)
    assert Mask(torch.tensor([True, False, True]))(x).tolist() == [[a, 0.0, c] for a, _, c in x.tolist()]


@pytest.mark.parametrize("factor", [1, 0, -2])
def test_factors_out_of_range(factor: int) -> None:
    with pytest.raises(UsageError, match="2 or more"):
        Pool(factor)


def test_what_an_operator_does_not_take() -> None:
    with pytest.raises(UsageError, match="factor = 3 does not divide"):
        Pool(3)(torch.zeros(1, 1, 9, 8))
    with pytest.raises(UsageError, match="nothing is unknown"):
        Mask(torch.ones(3).bool())
    with pytest.raises(UsageError, match="nothing is known"):
        Mask(torch.zeros(3).bool())
    with pytest.raises(UsageError, match="does not fit"):
        Mask(torch.tensor([True, False]))(torch.zeros(1, 3))
    for std in (0.0, math.inf):
        with pytest.raises(UsageError, match="above 0"):
            Blur(std)
    with pytest.raises(UsageError, match="pictures"):
        Blur(1.0).y_shape((3,))
    with pytest.raises(UsageError, match="not linear"):
        Function(lambda x: x + 1, (3,))
    with pytest.raises(UsageError, match="not linear"):
        Function(lambda x: x**3, (3,))
    with pytest.raises(UsageError, match=r"shape \(3,\)"):
        Function(lambda x: 2 * x, (3,))(torch.zeros(1, 4))
