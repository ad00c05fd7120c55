"""Recomputation in the backward pass: the same gradients, fewer tensors kept."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gendi.diffusion.networks.build import build_network
from gendi.diffusion.networks.config import NetworkConfig
from gendi.train.step.recompute import recompute

NETWORKS = {
    "unet": NetworkConfig(channels=(8, 16), patch=1, groups=4, time_dim=16, attention=(1,)),
    "residual": NetworkConfig(channels=(8, 16), patch=1, groups=4, time_dim=16, resample="residual"),
    "dit": NetworkConfig("dit", channels=(16,), blocks=2, patch=4, heads=2, time_dim=16),
}


def gradients(network: nn.Module, x: Tensor, t: Tensor) -> tuple[list[Tensor], int]:
    """Return the gradients of a loss, and the numbers that autograd kept for them."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        torch.manual_seed(1)
        loss = network(x, t).square().mean()
    held = sum(kept.values())
    weights = [p for p in network.parameters() if p.requires_grad]
    return list(torch.autograd.grad(loss, weights, allow_unused=True)), held


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_are_those_without_it_and_less_is_kept(name: str, dropout: float) -> None:
    """Within 1e-6, and with the same dropout in both forward passes."""
    torch.manual_seed(0)
    network = build_network(replace(NETWORKS[name], dropout=dropout), (2, 8, 8))
    for p in network.parameters():
        nn.init.normal_(p, std=0.2)  # layers that start at zero would hide the gradients of others
    twin = copy.deepcopy(network)
    recompute(twin, dropout > 0)
    x, t = torch.randn(3, 2, 8, 8), torch.rand(3)
    (plain, all_kept), (again, some_kept) = gradients(network, x, t), gradients(twin, x, t)
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert some_kept < 0.6 * all_kept
    assert network.state_dict().keys() == twin.state_dict().keys()
