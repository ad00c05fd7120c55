"""A Brownian path per sample: W(t) is a function of seed, sample and t, so every grid has the same path."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from worlds import f64

from gendi.diffusion.gaussian.samplers.brownian import BLOCK, BrownianNoise, blocks
from gendi.diffusion.randomness import Places
from gendi.errors import UsageError

ENDS = f64(1, 0)


def uniform(n: int) -> Tensor:
    return torch.linspace(1, 0, n + 1, dtype=torch.float64)


def increments(times: Tensor, rows: int = 3) -> Tensor:
    """Return W(t_k) - W(t_{k+1}) for every step, from the noise that a sampler receives."""
    noise = BrownianNoise(5, range(rows), (2, 2), times, "cpu")
    return torch.stack([noise(k).double() * (times[k] - times[k + 1]).sqrt() for k in range(len(times) - 1)])


@pytest.mark.parametrize("n", [1, 7, 25])
def test_halving_the_step_keeps_the_path(n: int) -> None:
    """Float32 noise keeps 6e-8 of increments that are at most a few units."""
    whole, halves = increments(uniform(n)), increments(uniform(2 * n))
    torch.testing.assert_close(halves[0::2] + halves[1::2], whole, rtol=0, atol=1e-6)


def test_the_first_nodes_are_levys_construction() -> None:
    """They are halves, then quarters; a quarter of five twentieths is cut at the second; z is rounded to float32."""
    places = Places(4, "brownian", 9)

    def z(place: int, n: int) -> NDArray[np.float64]:
        return places(place, n, 0).standard_normal((2,), np.float32).astype(float)

    quarter = math.sqrt(1 / 8)
    w = {1.0: z(1, 1)}
    w[0.5] = w[1.0] / 2 + z(1, 2) / 2
    w[0.25] = w[0.5] / 2 + quarter * z(1, 4)
    w[0.75] = (w[0.5] + w[1.0]) / 2 + quarter * z(3, 4)
    w[0.6] = 0.6 * w[0.5] + 0.4 * w[0.75] + math.sqrt(0.24 / 4) * z(12, 20)
    noise = BrownianNoise(4, [9], (2,), ENDS, "cpu")
    for t in (1.0, 0.5, 0.25, 0.75, 0.6):
        np.testing.assert_allclose(noise.path(t)[0].numpy(), w[t], rtol=1e-6)
    assert not noise.path(0.0).any()


@pytest.mark.parametrize("n", [20, 40, 200])
def test_the_times_of_an_even_grid_are_nodes(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them costs one draw, and so does W(1)."""
    draws = 0
    draw = BrownianNoise._normal

    def counted(noise: BrownianNoise, rows: slice, n: int, place: int, leaf: bool = False) -> NDArray[np.float32]:
        nonlocal draws
        draws += 1
        return draw(noise, rows, n, place, leaf)

    monkeypatch.setattr(BrownianNoise, "_normal", counted)
    increments(uniform(n))
    assert draws == n


@pytest.mark.parametrize("shape", [(2, 2), (3 * BLOCK,)])
def test_blocks_are_the_rows_in_order(shape: tuple[int, ...]) -> None:
    """And the noise of many rows, in several blocks, is that of each row alone."""
    n, times = BLOCK + 3 if shape == (2, 2) else 2, uniform(6)
    covered = torch.cat([torch.arange(n)[rows] for rows in blocks((n, *shape))])
    assert torch.equal(covered, torch.arange(n))
    alone = [0, n // 2, n - 1]
    together = BrownianNoise(5, range(n), shape, times, "cpu")
    some = BrownianNoise(5, alone, shape, times, "cpu")
    for k in (0, 3):
        assert torch.equal(together(k)[alone], some(k))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_earlier_times_do_not_matter(times: list[float]) -> None:
    noise = BrownianNoise(0, [3], (2,), ENDS, "cpu")
    for t in times:
        noise.path(t)
    for t in times:
        assert torch.equal(noise.path(t), BrownianNoise(0, [3], (2,), ENDS, "cpu").path(t))


@pytest.mark.parametrize("t", [0.5, 0.7, 1e-3, 1e-9])
def test_the_path_is_continuous_across_a_leaf(t: float) -> None:
    """Over 1e-9 of t it moves by about sqrt(1e-9 t), the bridge's deviation; 5 of these are allowed."""
    noise = BrownianNoise(1, range(20), (1,), ENDS, "cpu")
    moved = noise.path(t * (1 + 1e-9)) - noise.path(t)
    assert moved.abs().max() < 5 * math.sqrt(1e-9 * t)


def test_a_row_does_not_know_its_neighbours() -> None:
    times = uniform(6)
    whole = BrownianNoise(2, range(5), (3,), times, "cpu")
    some = BrownianNoise(2, [4, 1], (3,), times, "cpu")
    other = BrownianNoise(3, range(5), (3,), times, "cpu")
    for k in range(6):
        rows = whole(k)
        assert rows.dtype == torch.float32 and rows.shape == (5, 3)
        assert torch.equal(some(k), rows[[4, 1]])
        assert not torch.equal(other(k), rows)


@pytest.mark.statistical
def test_covariance_is_the_smaller_time() -> None:
    """E W(s) W(t) = min(s, t); over n paths it errs by sqrt((s t + min(s, t)^2) / n), of which 5 are allowed."""
    n, times = 3000, [1e-7, 3e-4, 0.01, 0.3, 1 / 3, 0.34, 0.7001, 0.9, 1.0]
    noise = BrownianNoise(0, range(n // 100), (100,), ENDS, "cpu")
    w = torch.stack([noise.path(t).flatten() for t in times], 1)
    t = f64(*times)
    expected = torch.minimum(t[:, None], t)
    deviation = ((t[:, None] * t + expected**2) / n).sqrt()
    assert bool(((w.T @ w / n - expected).abs() < 5 * deviation).all())


@pytest.mark.statistical
@pytest.mark.parametrize("smallest", [0.03, 1e-8])
def test_noise_is_standard_normal_and_new_at_every_step(smallest: float) -> None:
    """The levels shrink by one ratio, as those of variance-exploding grids do; a correlation errs by 1 / sqrt(n), of
    which 5 are allowed.
    """
    n, steps = 4000, 12
    times = torch.cat([torch.logspace(0, math.log10(smallest), steps, dtype=torch.float64), f64(0)])
    noise = BrownianNoise(7, range(n // 100), (100,), times, "cpu")
    z = torch.stack([noise(k).double().flatten() for k in range(steps)])
    moments = z @ z.T / n
    assert (moments - torch.eye(steps, dtype=torch.float64)).abs().max() < 5 * math.sqrt(2 / n)
    assert z.mean(1).abs().max() < 5 / math.sqrt(n)
    assert abs((z**4).mean().item() - 3) < 5 * math.sqrt(96 / (n * steps))


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75, 1.0])
def test_a_path_may_begin_at_any_node(t: float) -> None:
    fresh, other = (BrownianNoise(4, [9], (2,), ENDS, "cpu") for _ in range(2))
    other.path(0.9)
    assert torch.equal(fresh.path(t), other.path(t))
    assert bool(fresh.path(t).all())  # which has probability 1


def test_a_step_is_compared_with_the_time_at_which_it_begins() -> None:
    leaf = 2.0**-12
    BrownianNoise(0, [0], (1,), f64(1, 1 - leaf, 0), "cpu")
    shorter = leaf - leaf**2 / 2  # between 2^-12 of its end and 2^-12 of its beginning
    assert leaf * (1 - shorter) < shorter < leaf
    with pytest.raises(UsageError, match="from t = 1 to"):
        BrownianNoise(0, [0], (1,), f64(1, 1 - shorter, 0), "cpu")


def test_a_grid_finer_than_the_leaves_is_refused() -> None:
    with pytest.raises(UsageError, match=r"2\^-12 of t: from t = 0\.5 to 0\.49995"):
        BrownianNoise(0, [0], (1,), f64(0.5, 0.49995, 0), "cpu")
    BrownianNoise(0, [0], (1,), uniform(4096), "cpu")
