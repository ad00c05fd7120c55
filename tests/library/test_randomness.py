import math

import numpy as np
import pytest
import torch

from gendi.diffusion.randomness import Places, normal, stream

KEYS = [(0, "noise", 0, 0), (1, "noise", 0, 0), (0, "time", 0, 0), (0, "noise", 1, 0), (0, "noise", 0, 1)]
N = 20_000


def test_equal_keys_give_equal_numbers() -> None:
    for key in KEYS:
        assert torch.equal(normal((7, 3), *key), normal((7, 3), *key))


def test_a_longer_draw_starts_with_the_shorter() -> None:
    assert np.array_equal(stream(3, "x").random(50)[:20], stream(3, "x").random(20))


def test_a_place_does_not_depend_on_what_was_drawn_before() -> None:
    """Philox's buffers do not matter, in which odd numbers of 32-bit draws leave half a word and part of a block."""
    places = Places(3, "x", 5)
    drawn = {place: places(*place).random(50, np.float32) for place in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 2**63))}
    places(1, 0, 0).random(3, np.float32)
    for place, expected in reversed(drawn.items()):
        assert np.array_equal(places(*place).random(7, np.float32), expected[:7])
    assert len(np.unique(np.concatenate(list(drawn.values())))) == 200
    assert np.array_equal(drawn[0, 0, 0], stream(3, "x", index=5).random(50, np.float32))


@pytest.mark.statistical
def test_every_part_of_the_key_makes_another_stream() -> None:
    """The correlation of n independent pairs has deviation 1 / sqrt(n): 5 of those."""
    draws = torch.stack([normal((N,), *key) for key in KEYS]).double()
    correlation = torch.corrcoef(draws) - torch.eye(len(KEYS), dtype=torch.float64)
    assert correlation.abs().max() < 5 / math.sqrt(N)


@pytest.mark.statistical
def test_neighbouring_keys_are_independent_across_the_streams_too() -> None:
    """The first number of n streams: mean 0, variance 1, and no correlation between neighbours; 5 deviations each."""
    n = 3000
    first = torch.cat([normal((1,), 0, "sample", index=i) for i in range(n)]).double()
    assert abs(first.mean().item()) < 5 / math.sqrt(n)
    assert abs(first.var().item() - 1) < 5 * math.sqrt(2 / n)
    assert abs((first[1:] * first[:-1]).mean().item()) < 5 / math.sqrt(n)
    assert len(first.unique()) > 0.99 * n


@pytest.mark.statistical
def test_normal_numbers_have_the_moments_of_the_normal_law() -> None:
    """The mean of x^k errs by sqrt((E x^2k - (E x^k)^2) / n), with E x^2k = (2k - 1)!!: 5 of those."""
    x = normal((N,), 7, "moments").double()
    double_factorial = {2: 1, 4: 3, 6: 15, 8: 105}
    for k in (1, 2, 3, 4):
        mean = double_factorial[k] if k % 2 == 0 else 0
        deviation = math.sqrt((double_factorial[2 * k] - mean**2) / N)
        assert abs((x**k).mean().item() - mean) < 5 * deviation


def test_no_global_state_is_read_or_moved() -> None:
    torch.manual_seed(0)
    before, numpy_before = torch.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    first = normal((5,), 0, "noise")
    torch.manual_seed(1)
    assert torch.equal(normal((5,), 0, "noise"), first)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), before)
    assert str(np.random.get_state()) == numpy_before  # noqa: NPY002
