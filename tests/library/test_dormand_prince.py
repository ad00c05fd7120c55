"""The integrator with error control, on dy / dp = -2 p y, whose solution is y exp(start^2 - end^2)."""

import pytest
import torch
from torch import Tensor
from worlds import f64

from gendi.diffusion.gaussian.dormand_prince import NODES, STAGES, Place, solve

START, END, Y = f64(0.0, -1.0, 0.5), f64(1.0, 0.5, 2.0), f64(1.0, 2.0, -1.0)[:, None]


def run(end: Tensor, rows: slice = slice(None), rtol: float = 1e-8, together: bool = False) -> tuple[Place, list[int]]:
    """Return the end of the way of some rows, and how many rows each call had."""
    sizes = []

    def slope(which: Tensor, p: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        sizes.append(len(which))
        return -2 * p[:, None] * y, p

    start, y = START[rows], Y[rows]
    found = slope(torch.arange(len(y)), start, y)
    place = Place(start, y, *found, torch.full_like(start, 0.1))
    return solve(slope, place, end[rows], rtol=rtol, atol=1e-12, together=together), sizes


@pytest.mark.parametrize("rtol", [1e-4, 1e-6, 1e-9])
def test_it_keeps_its_tolerance(rtol: float) -> None:
    place, _ = run(END, rtol=rtol)
    exact = Y * (START**2 - END**2).exp()[:, None]
    assert ((place.y - exact) / exact).abs().max() < 50 * rtol
    assert torch.equal(place.position, END)
    assert torch.equal(place.slope, -2 * END[:, None] * place.y)
    assert place.found is not None
    torch.testing.assert_close(place.found, END, rtol=0, atol=1e-12)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    """Whether those that have arrived stay in the calls or leave."""
    (apart, left), (joined, stayed) = run(END), run(END, together=True)
    assert torch.equal(apart.y, joined.y)
    assert set(stayed) == {3}
    assert min(left) < 3
    for i in range(3):
        alone, _ = run(END, slice(i, i + 1))
        assert torch.equal(alone.y, apart.y[i : i + 1])


def test_a_way_of_no_length_takes_no_call() -> None:
    place, sizes = run(START)
    assert torch.equal(place.y, Y)
    assert sizes == [3]


def test_the_tableau_is_consistent() -> None:
    for node, weights in zip(NODES, STAGES, strict=True):
        assert sum(weights) == pytest.approx(node, abs=1e-15)
