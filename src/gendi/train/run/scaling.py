"""Estimates of the time and memory of training on several accelerators, by arithmetic.

    FLOPs of a step      3 F B + M
    seconds of a step    (3 F B + M) / (N u P)
    memory of a device   4 (w + g + e + o) + a rows + c

F are the FLOPs of a forward pass of one image (a backward pass takes twice as many), B is the batch size, M are the
FLOPs of Muon's products, and u is the share of the peak P that each of N devices reaches.

The weights w, gradients g and averages e are p numbers each, in float32. The optimiser's moments o are two numbers per
weight for AdamW and one for Muon. With sharding, each device holds 1/N of them, and beside them the weights and
gradients of one whole block. For the backward pass, autograd keeps a bytes for each row, and c bytes for any number of
rows (weights in bf16); both are read from a pass of the network on tensors without memory. The waste of the allocator
and the scratch memory of kernels are not counted.

Muon's products for a matrix m x n, m <= n, take five rounds, 5 (4 m^2 n + 2 m^3) FLOPs, which the devices share.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gendi.diffusion.conditions import keywords
from gendi.diffusion.networks.cost import condition_row
from gendi.diffusion.networks.norm import GroupNorm
from gendi.diffusion.networks.roles import units_of
from gendi.errors import UsageError
from gendi.machine.hardware import Device
from gendi.train.config import RunConfig
from gendi.train.step.muon import Muon
from gendi.train.step.optim import make_optimizers
from gendi.train.weights.model import network_of, run_cost
from gendi.train.weights.posthoc_ema import SIGMA_RELS


def activation_bytes(
    config: RunConfig, shape: tuple[int, ...], precision: str, on_cpu: bool = False
) -> tuple[int, int]:
    """Return the bytes that autograd keeps for the backward pass: for each sample, and for any number of samples."""
    with FakeTensorMode():
        network = network_of(config, shape)
        for module in network.modules():
            if isinstance(module, GroupNorm):
                module.widen = on_cpu
        one, two = (_kept(network, config, shape, rows, precision) for rows in (1, 2))
    return two - one, 2 * one - two


def _kept(network: nn.Module, config: RunConfig, shape: tuple[int, ...], rows: int, precision: str) -> int:
    own = {p.untyped_storage()._cdata for p in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # kept alive, so that no other storage takes its place
        return tensor

    half = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), half:
        cond = {spec.name: torch.cat([condition_row(spec, shape)] * rows) for spec in config.conditions}
        out = network(torch.zeros(rows, *shape), torch.zeros(rows), **keywords(cond))
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
    """Return the most bytes of weights that FSDP gathers at once: the largest block, or everything outside blocks."""
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

    A batch is processed in `train.accumulate` parts. With `train.shard`, the devices share weights, gradients, average
    and moments.

    Raises `UsageError` if a batch has fewer images than there are devices, or the device lacks the precision.
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
    of_row, of_all = activation_bytes(config, shape, precision, device.is_cpu)
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
    # A sum of gradients sends and receives each number once. Sharded weights are gathered before both passes of a part.
    passes = (1 + 2) * max(1, min(rows, config.train.accumulate)) if sharded else 2
    exchange = passes * each * (devices - 1) / devices
    assumptions = [
        f"{utilisation:.0%} of the peak of {peak / 1e12:,.3g} TFLOP/s is reached; small networks and batches reach "
        "less",
        "a backward pass costs as much as two forward passes; AdamW, averages, data and previews cost nothing",
    ]
    if exchange:
        assumptions.append(
            f"the {exchange / 1e6:,.0f} MB that each device exchanges in a step are assumed to travel during the "
            "backward pass"
        )
    assumptions.append("memory does not include the allocator's waste, the kernels' scratch space and the data")
    if memory["total"] > device.memory:
        assumptions.append("it does not fit: raise --accumulate or --gpus, or give --shard")
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
