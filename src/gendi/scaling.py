"""What training on several accelerators would take, by arithmetic.

    FLOPs of a step      3 F B          F of a forward pass; backward is twice forward
    seconds of a step    3 F B / (N u P)      u the share of the peak P that is reached, on each of N devices
    memory of a device   4 (1 + 1 + 1 + 2) p + rows A      float32 weights, gradients, average, two moments of AdamW

A is the bytes of a row's activations: every output of a layer that holds no other layer, kept for the backward pass,
in the precision of the network. Fused kernels keep less, so it is a bound, without the allocator's own waste.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from gendi.config import RunConfig
from gendi.errors import UsageError
from gendi.hardware import Device
from gendi.networks import network_of
from gendi.networks.cost import condition_row, cost_of


def activation_numbers(config: RunConfig, shape: tuple[int, ...]) -> int:
    """Return how many numbers the layers of a run's network put out for one sample, counted without computing."""
    total = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        total += output.numel() if isinstance(output, Tensor) else 0

    with torch.device("meta"):
        network = network_of(config, shape).eval()
        for module in network.modules():
            if not any(True for _ in module.children()):
                module.register_forward_hook(count)
        cond = {spec.name: condition_row(spec, shape) for spec in config.conditions}
        with torch.no_grad():
            network(torch.zeros(1, *shape), torch.zeros(1), **cond)
    return total


def plan(
    config: RunConfig,
    shape: tuple[int, ...],
    device: Device,
    *,
    devices: int = 1,
    images: int,
    batch: int,
    precision: str = "bf16",
    utilisation: float = 0.3,
) -> dict[str, Any]:
    """Return memory of a device, images/s and time of training on `images` in batches of `batch` over `devices`.

    Raises `UsageError` if a batch has fewer images than there are devices.
    """
    if batch < devices:
        raise UsageError(f"a batch of {batch} cannot be shared by {devices} devices: give a larger --batch-size.")
    cost = cost_of(config, shape)
    rows = math.ceil(batch / devices)
    each = 4 * cost.parameters
    memory: dict[str, float] = {
        "weights": each,
        "gradients": each,
        "ema": each,
        "optimiser": (1 if config.optim.name == "muon" else 2) * each,
        "activations": rows * activation_numbers(config, shape) * (2 if precision == "bf16" else 4),
    }
    memory["total"], memory["device"] = sum(memory.values()), device.memory
    rate = devices * utilisation * device.peak(precision) / (3 * cost.flops) * batch / (rows * devices)
    exchange = 2 * each * (devices - 1) / devices
    return {
        "parameters": cost.parameters,
        "flops_per_image": cost.flops,
        "shape": list(shape),
        "device": device.name,
        "devices": devices,
        "precision": precision,
        "utilisation": utilisation,
        "batch_size": batch,
        "rows_per_device": rows,
        "memory": memory,
        "fits": memory["total"] <= device.memory,
        "images": images,
        "images_per_second": rate,
        "seconds": images / rate,
        "days": images / rate / 86_400,
        "exchange_bytes": exchange,
        "assumptions": [
            f"{utilisation:.0%} of the data sheet's peak of {device.peak(precision) / 1e12:,.0f} TFLOP/s is reached; "
            "small networks and batches reach less",
            "a backward pass costs two forward ones; optimiser, data and previews cost nothing",
            f"the {exchange / 1e6:,.0f} MB of gradients that each device exchanges in a step hide behind the backward "
            "pass",
            *([] if memory["total"] <= device.memory else ["it does not fit: raise --train.accumulate or --gpus"]),
        ],
    }
