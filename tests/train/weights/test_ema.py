import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gendi.train.weights.ema import EMA, ema_decay


@given(st.integers(1, 512), st.integers(1, 50), st.floats(100, 1e6))
def test_after_warm_up_k_steps_multiply_to_the_exponential_of_their_images(
    size: int, steps: int, horizon: float
) -> None:
    """The product of k decays is exp(-k batch / horizon), whatever the batch size."""
    seen = math.ceil(10 * horizon)
    product = math.prod(ema_decay(seen + (k + 1) * size, size, horizon) for k in range(steps))
    assert product == pytest.approx(math.exp(-steps * size / horizon), rel=1e-9)


@given(st.integers(1, 100), st.integers(10, 200), st.integers(1, 100))
def test_during_warm_up_a_weight_fades_as_a_power_of_the_images_whatever_the_batch(
    size: int, start: int, steps: int
) -> None:
    """ln of the product is -10 sum b / n, n = n_0 + b, ..., n_1: ln(n_1 / n_0) less at most b (1 / n_0 - 1 / n_1)."""
    first, last = start * size, (start + steps) * size
    logs = sum(math.log(ema_decay(n, size, 1e12)) for n in range(first + size, last + 1, size))
    power = -10 * math.log(last / first)
    assert power - 1e-9 <= logs <= power + 10 * size * (1 / first - 1 / last) + 1e-9


def test_the_first_steps_follow_the_weights() -> None:
    assert ema_decay(128, 128, 12_000) == pytest.approx(math.exp(-10))
    assert 0 <= ema_decay(0, 128, 12_000) < 1e-300


def test_decay_meets_its_horizon_without_a_jump() -> None:
    below, above = ema_decay(120_000 - 1, 64, 12_000), ema_decay(120_000 + 1, 64, 12_000)
    assert below == pytest.approx(above, rel=1e-6)
    assert above == pytest.approx(math.exp(-64 / 12_000))


def small(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4))


def test_the_average_by_hand() -> None:
    """After weights w_1, ..., w_k: sum of w_i (1 - d_i) d_{i+1} ... d_k, and the start times all of d."""
    network, size, horizon = small(0), 32, 200.0
    ema = EMA(network, horizon)
    expected = {k: v.double().clone() for k, v in network.state_dict().items()}
    for step in range(1, 8):
        network.load_state_dict(small(step).state_dict())
        ema.update(network, step * size, size)
        decay = math.exp(-size / min(horizon, step * size / 10))
        for key, value in network.state_dict().items():
            expected[key] = decay * expected[key] + (1 - decay) * value.double()
    for key, value in expected.items():
        assert ema.weights[key].dtype == torch.float32
        torch.testing.assert_close(ema.weights[key].double(), value, rtol=1e-5, atol=1e-6)


def test_the_average_of_what_does_not_move_is_itself_and_shares_nothing() -> None:
    network = small(0)
    ema = EMA(network, 100.0)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    ema.update(network, 50, 10)
    with torch.no_grad():
        for p in network.parameters():
            p += 1
    for key, value in before.items():
        torch.testing.assert_close(ema.weights[key], value, rtol=1e-6, atol=1e-7)
    network.load_state_dict(ema.weights)
