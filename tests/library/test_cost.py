"""Parameters and operations against an independent count: the layers' shapes, seen by hooks on a real pass."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.config import ObjectiveConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.cost import flops_of_layers
from gendi.train.config import RunConfig
from gendi.train.weights.model import network_of, run_cost

TOLD = (ConditionConfig("class", size=3), ConditionConfig("photo", "image", size=2, via="tokens"))


def by_layer(network: nn.Module, *inputs: Tensor, **cond: Tensor) -> int:
    """Return 2 x multiply-adds of every convolution and linear layer of one pass."""
    total = 0

    def count(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += 2 * output.numel() * layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
        elif isinstance(layer, nn.Linear):
            total += 2 * output.numel() * layer.in_features

    for layer in network.modules():
        layer.register_forward_hook(count)
    network(*inputs, **cond)
    return total


@pytest.mark.parametrize(
    ("network", "attention"),
    [
        # 4 N M c for each attention: N = 4 x 4 pixels at the second level, five stages; photos of 8 x 8 are 4 tokens
        (NetworkConfig(channels=(8, 16), blocks=1, groups=4, attention=(1,), time_dim=8), 5 * 4 * 16 * (16 + 4) * 16),
        # N = 4 x 4 patches, two blocks
        (NetworkConfig("dit", channels=(16,), blocks=2, patch=2, time_dim=8), 2 * 4 * 16 * (16 + 4) * 16),
    ],
    ids=["unet", "dit"],
)
def test_attention_is_counted(network: NetworkConfig, attention: int) -> None:
    config = RunConfig(network=network, conditions=TOLD, objective=ObjectiveConfig(loss="hybrid", variance="learned"))
    whole = network_of(config, (3, 8, 8))
    cond = {"class": torch.zeros(1, dtype=torch.int64), "photo": torch.zeros(1, 2, 8, 8)}
    layers = by_layer(whole, torch.zeros(1, 3, 8, 8), torch.zeros(1), **cond)
    cost = run_cost(config, (3, 8, 8))
    assert cost.flops == layers + attention
    assert flops_of_layers(whole.eval(), (3, 8, 8), TOLD) == layers
    assert cost.parameters == sum(p.numel() for p in whole.parameters())


def test_a_vectors_network_is_counted() -> None:
    config = RunConfig(network=NetworkConfig("mlp", channels=(16,), blocks=3, time_dim=8), conditions=TOLD[:1])
    assert run_cost(config, (50,)).flops == by_layer(network_of(config, (50,)), torch.zeros(1, 50), torch.zeros(1))


def test_weights_are_checked_without_torchs_compiler() -> None:
    """Loading the compiler takes longer than drawing 64 digits, and arithmetic on the meta device would load it."""
    code = """
import sys, torch
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.build import build_network
from gendi.diffusion.networks.config import NetworkConfig
kinds = [("class", "embedding"), ("tags", "embedding"), ("value", "embedding"), ("vector", "embedding")]
kinds += [("image", "tokens"), ("image", "channels")]
told = tuple(ConditionConfig(f"c{i}", kind, size=3 if kind != "value" else 1, via=via)
             for i, (kind, via) in enumerate(kinds))
with torch.device("meta"):
    build_network(NetworkConfig(channels=(8, 16), groups=4, attention=(1,), time_dim=8), (3, 8, 8), told)
    build_network(NetworkConfig("dit", channels=(16,), patch=2, time_dim=8), (3, 8, 8), told[:5])
    build_network(NetworkConfig("mlp", channels=(16,), time_dim=8), (50,), told[:4])
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
