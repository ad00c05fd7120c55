"""What training on several accelerators would take, by arithmetic.

    FLOPs of a step      3 F B + M          F of a forward pass; backward is twice forward; M of Muon's products
    seconds of a step    (3 F B + M) / (N u P)      u the share of the peak P that is reached, on each of N devices
    memory of a device   4 (w + g + e + o) + a rows + c

In float32 w weights, g gradients and e averages are p numbers each, and o the optimiser's moments: two of AdamW for
each weight, one of Muon. Sharded, each device holds 1/N of them, and one block's weights and gradients whole beside.
a is what autograd keeps of a row for the backward pass, and c what it keeps whatever the rows (weights in bf16): both
are read off a pass of the network on tensors without memory. The allocator's waste and the kernels' scratch come on
top.

Muon's products for a matrix m x n, m <= n, in five rounds: 5 (4 m^2 n + 2 m^3), shared out among the devices.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gendi.diffusion.networks.cost import condition_row
from gendi.diffusion.networks.roles import units_of
from gendi.errors import UsageError
from gendi.machine.hardware import Device
from gendi.train.config import RunConfig
from gendi.train.model import network_of, run_cost
from gendi.train.optim import Muon, make_optimizers
from gendi.train.posthoc_ema import SIGMA_RELS


def activation_bytes(config: RunConfig, shape: tuple[int, ...], precision: str) -> tuple[int, int]:
    """Return the bytes that autograd keeps for the backward pass: of each sample, and whatever their number."""
    with FakeTensorMode():
        network = network_of(config, shape)
        one, two = (_kept(network, config, shape, rows, precision) for rows in (1, 2))
    return two - one, 2 * one - two


def _kept(network: nn.Module, config: RunConfig, shape: tuple[int, ...], rows: int, precision: str) -> int:
    own = {p.untyped_storage()._cdata for p in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other takes its place
        return tensor

    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), half:
        cond = {spec.name: torch.cat([condition_row(spec, shape)] * rows) for spec in config.conditions}
        out = network(torch.zeros(rows, *shape), torch.zeros(rows), **cond)
    assert out.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


def optimiser_cost(config: RunConfig, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the bytes of the optimiser's moments and the FLOPs of Muon's products in a step."""
    with torch.device("meta"):
        optimizers = make_optimizers(network_of(config, shape), config.optim)
    held, flops = 0, 0
    for optimizer in optimizers:
        moments = 1 if isinstance(optimizer, Muon) else 2
        for p in (p for group in optimizer.param_groups for p in group["params"]):
            held += 4 * moments * p.numel()
            if isinstance(optimizer, Muon):
                m, n = sorted((p.shape[0], p[0].numel()))
                flops += 5 * (4 * m * m * n + 2 * m**3)
    return held, flops


def largest_block(config: RunConfig, shape: tuple[int, ...]) -> int:
    """Return the bytes of the weights of what FSDP gathers at once, at its largest: a block, or all outside blocks."""
    with torch.device("meta"):
        network = network_of(config, shape)
    blocks = [_bytes(block) for block in units_of(network)]
    return max(*blocks, _bytes(network) - sum(blocks), 0)


def _bytes(module: nn.Module) -> int:
    return sum(4 * p.numel() for p in module.parameters())


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

    Rows go in `train.accumulate` parts, and `train.shard` shares weights, gradients, average and moments out.

    Raises `UsageError` if a batch has fewer images than there are devices, or the device has not the precision.
    """
    if batch < devices:
        raise UsageError(f"a batch of {batch} cannot be shared by {devices} devices: give a larger --batch-size.")
    peak = device.peak(precision)
    cost = run_cost(config, shape)
    rows = math.ceil(batch / devices)
    at_once = math.ceil(rows / max(1, min(rows, config.train.accumulate)))
    sharded = config.train.shard and devices > 1
    each, share = 4 * cost.parameters, devices if sharded else 1
    moments, muon = optimiser_cost(config, shape)
    of_row, of_all = activation_bytes(config, shape, precision)
    memory: dict[str, float] = {
        "weights": each / share,
        "gradients": each / share,
        "ema": each / share,
        "optimiser": moments / share,
        "activations": at_once * of_row + of_all,
    }
    if config.optim.posthoc_every:
        memory["averages"] = len(SIGMA_RELS) * each / share
    if sharded:
        memory["gathered"] = 2 * largest_block(config, shape)
    memory["total"], memory["device"] = sum(memory.values()), device.memory
    flops = 3 * cost.flops * rows + muon / devices
    rate = batch * utilisation * peak / flops
    # sums of gradients: each number out and in once; sharded, weights are gathered before both passes of every part
    passes = (1 + 2) * max(1, min(rows, config.train.accumulate)) if sharded else 2
    exchange = passes * each * (devices - 1) / devices
    assumptions = [
        f"{utilisation:.0%} of the peak of {peak / 1e12:,.3g} TFLOP/s is reached; small networks and batches reach "
        "less",
        "a backward pass costs two forward ones; AdamW, averages, data and previews cost nothing",
    ]
    if exchange:
        assumptions.append(f"the {exchange / 1e6:,.0f} MB that each exchanges in a step hide behind the pass")
    assumptions.append("memory is without the allocator's waste, the kernels' scratch and the data")
    if memory["total"] > device.memory:
        assumptions.append("it does not fit: raise --accumulate or --gpus, or --shard")
    return {
        "parameters": cost.parameters,
        "flops_per_image": cost.flops,
        "optimiser_flops": muon,
        "shape": list(shape),
        "device": device.name,
        "devices": devices,
        "sharded": sharded,
        "precision": precision,
        "utilisation": utilisation,
        "batch_size": batch,
        "rows_per_device": rows,
        "rows_at_once": at_once,
        "memory": memory,
        "fits": memory["total"] <= device.memory,
        "images": images,
        "images_per_second": rate,
        "seconds": images / rate,
        "days": images / rate / 86_400,
        "exchange_bytes": exchange,
        "assumptions": assumptions,
    }
