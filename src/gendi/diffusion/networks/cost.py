"""The cost of a network, found without running it: parameters and floating-point operations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gendi.diffusion.conditions import keywords
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.build import build_network
from gendi.diffusion.networks.config import NetworkConfig
from gendi.diffusion.networks.registry import NETWORKS


@dataclass(frozen=True)
class Cost:
    """Parameters, and the floating-point operations (2 per multiply-add) of one forward pass on one sample."""

    parameters: int
    flops: int


def cost_of(
    config: NetworkConfig,
    shape: tuple[int, ...],
    conditions: Sequence[ConditionConfig] = (),
    out_channels: int | None = None,
) -> Cost:
    """Return the cost of a network on samples of `shape` with all `conditions` (pictures have their own size).

    The arguments are those of `build_network`. The operations are counted on tensors without memory. There, attention
    is computed as two products; the operations of a fused CPU kernel would not be counted.
    """
    with torch.device("meta"):
        network = build_network(config, shape, conditions, out_channels).eval()
        cond = {spec.name: condition_row(spec, shape) for spec in conditions}
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(_row(NETWORKS[config.kind].tokens, shape), torch.zeros(1), **keywords(cond))
    return Cost(sum(p.numel() for p in network.parameters()), int(counter.get_total_flops()))


def flops_of_layers(
    network: nn.Module, shape: tuple[int, ...], conditions: Sequence[ConditionConfig] = (), tokens: bool = False
) -> int:
    """Return the floating-point operations of a network's linear layers and convolutions, by a call on one sample.

    It takes milliseconds, where `cost_of` first loads torch's compiler, and leaves out the products of attention. The
    network is on the CPU, in evaluation mode; `tokens` says whether samples are whole numbers.
    """
    total = 0

    def count(layer: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            total += 2 * output.numel() * layer.weight[0].numel()

    hooks = [layer.register_forward_hook(count) for layer in network.modules()]
    try:
        cond = {spec.name: condition_row(spec, shape) for spec in conditions}
        with torch.no_grad():
            network(_row(tokens, shape), torch.zeros(1), **keywords(cond))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _row(tokens: bool, shape: tuple[int, ...]) -> Tensor:
    """Return a row of zeros of `shape`, tokens or numbers."""
    return torch.zeros(1, *shape, dtype=torch.int64 if tokens else torch.float32)


def condition_row(spec: ConditionConfig, shape: tuple[int, ...]) -> Tensor:
    """Return a row of zeros of a condition, for samples of `shape`."""
    match spec.kind:
        case "class":
            return torch.zeros(1, dtype=torch.int64)
        case "value":
            return torch.zeros(1)
        case "image":
            return torch.zeros(1, spec.size, *shape[1:])
    return torch.zeros(1, spec.size)
