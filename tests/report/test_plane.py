"""Densities in one dimension against formulas, and pictures of the plane that show what they are given."""

import numpy as np
import pytest

from gendi.data.toy.worlds import world
from gendi.diffusion import make_schedule
from gendi.report.plane import field_figure, marginals, marginals_figure, paths_figure, scatter_figure

CHAIN = make_schedule("linear", 1000)


def test_a_uniform_becomes_the_normal_it_should() -> None:
    """Numbers even on [-1, 1]: at step i the density is that of alpha u + sigma n, by quadrature; it sums to 1."""
    x, found = marginals(np.linspace(-1, 1, 6001), CHAIN, (100, 300, 1000))
    u = np.linspace(-1, 1, 2001)
    for i, density in found.items():
        alpha, sigma = (float(c) for c in CHAIN(i / 1000))
        law = np.exp(-(((x[:, None] - alpha * u) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi)) / 2
        assert density == pytest.approx(np.trapezoid(law, u, axis=1), abs=1e-3)  # of the bins' unequal counts
        assert np.trapezoid(density, x) == pytest.approx(1, abs=2e-4)


def test_at_the_start_it_is_the_histogram() -> None:
    x, found = marginals(np.array([-1.0, -1.0, 1.0, 3.0]), CHAIN, (0,), bins=4)  # bins of width 1 from -1 to 3
    assert found[0][np.abs(x + 0.5) < 0.4] == pytest.approx(0.5)
    assert found[0][np.abs(x - 0.5) < 0.4] == pytest.approx(0)
    assert found[0][np.abs(x - 1.5) < 0.4] == pytest.approx(0.25)


def test_figures_have_the_points_arrows_and_paths() -> None:
    exact = world("moons").denoiser(make_schedule("cosine"))
    rows, _ = world("moons").points(50)
    densities = marginals_figure(rows[:, 0], CHAIN, (0, 100))
    assert len(densities.axes) == 2 and densities._repr_png_().startswith(b"\x89PNG")  # which a notebook shows
    shown = scatter_figure(("data", rows), ("again", rows + 1)).axes
    assert [len(each.collections[0].get_offsets()) for each in shown] == [50, 50]
    arrows = field_figure(exact, 0.5, rows).axes[0].collections[-1]
    assert arrows.N == 441 and np.hypot(arrows.U, arrows.V).max() == pytest.approx(0.28, rel=1e-3)
    lines = paths_figure(exact, n=5, steps=8, sampler="ddim").axes[0].lines
    assert len(lines) == 5 and len(lines[0].get_xdata()) == 8
