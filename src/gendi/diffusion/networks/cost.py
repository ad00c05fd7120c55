"""What a network costs, without computing anything: parameters and floating-point operations."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.build import network_of
from gendi.train.config import RunConfig


@dataclass(frozen=True)
class Cost:
    """Parameters, and the floating-point operations (2 per multiply-add) of one forward pass on one sample."""

    parameters: int
    flops: int


def cost_of(config: RunConfig, shape: tuple[int, ...]) -> Cost:
    """Return the cost of a run's network on samples of `shape`, told everything it can be (pictures of its own size).

    It is counted on tensors without memory, where attention is the two products it consists of: the fused kernel of a
    CPU would not be counted.
    """
    with torch.device("meta"):
        network = network_of(config, shape).eval()
        cond = {spec.name: condition_row(spec, shape) for spec in config.conditions}
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, *shape), torch.zeros(1), **cond)
    return Cost(sum(p.numel() for p in network.parameters()), int(counter.get_total_flops()))


def condition_row(spec: ConditionConfig, shape: tuple[int, ...]) -> Tensor:
    """Return one row of a condition, zeros, for samples of `shape`."""
    match spec.kind:
        case "class":
            return torch.zeros(1, dtype=torch.int64)
        case "value":
            return torch.zeros(1)
        case "image":
            return torch.zeros(1, spec.size, *shape[1:])
    return torch.zeros(1, spec.size)
