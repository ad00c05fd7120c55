"""Calls in shares of a batch: every row once, in order, by as many threads as there are, and never with gradients."""

import threading

import pytest
import torch
from torch import Tensor

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import Parameterisation
from gendi.diffusion.gaussian.denoiser import make_denoiser
from gendi.diffusion.gaussian.schedule import make_schedule
from gendi.diffusion.networks.build import build_network
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.shares import Shares


@pytest.mark.parametrize(
    ("n", "rows", "workers"), [(1, 4, 2), (4, 4, 2), (5, 4, 2), (17, 4, 3), (64, 16, 2), (3, 1, 8)]
)
def test_the_shares_are_the_rows_in_order(n: int, rows: int, workers: int) -> None:
    x, seen, threads = torch.arange(n), [], set()

    def call(part: slice) -> Tensor:
        seen.append(part.stop - part.start)
        threads.add(threading.get_ident())
        assert not torch.is_grad_enabled()
        return x[part]

    assert torch.equal(torch.cat(Shares(rows, workers).over(call, n)), x)
    assert sum(seen) == n
    assert max(seen) <= rows
    assert len(threads) <= workers


def test_large_networks_get_small_shares() -> None:
    assert Shares.of(1e6, 2) == Shares(64, 2)
    assert Shares.of(1.2e10, 4) == Shares(1, 4)
    assert Shares.of(1e12, 1).rows == 1


def test_a_denoiser_in_shares_is_the_denoiser() -> None:
    """And gradients, which guidance takes, come through a call on the whole batch."""
    torch.manual_seed(0)
    config = NetworkConfig(channels=(8, 16), patch=1, groups=4, time_dim=16)
    network = build_network(config, (1, 8, 8), (ConditionConfig("class", size=3),))
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.2)
    denoiser = make_denoiser(network, make_schedule("cosine"), Parameterisation("eps", True), 0.5, "log-snr")
    x, t, labels = torch.randn(11, 1, 8, 8), torch.rand(11) * 0.8 + 0.1, torch.arange(11) % 3
    with torch.inference_mode():
        whole = denoiser(x, t, **{"class": labels})
        denoiser.shares = Shares(2, 3)
        shared = denoiser(x, t, **{"class": labels})
    torch.testing.assert_close(shared, whole, rtol=1e-5, atol=1e-5)
    x.requires_grad_()
    denoiser(x, t, **{"class": labels}).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
