"""Networks that do not fit one device: weights, gradients, averages and moments shared out among the processes.

PyTorch's FSDP2 keeps the rows of every tensor (its first dimension) with one process each, gathers a block's weights
when the block works, and shares the gradients out again as they are summed. What is computed is what several processes
compute without it, but for round-off. Files hold whole tensors, so any number of processes goes on from them.

Sharded tensors are `DTensor`s, which carry the whole's shape; plain tensors pass through every function here as they
are. [Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel"]
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from gendi.diffusion.networks.roles import units_of


def shard(network: nn.Module, device: torch.device, processes: int) -> None:
    """Share the weights of `network` out among the processes, which all have them, in place.

    A block at a time moves to `device`.
    """
    # the denoiser reads the output and changes nothing in place
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor", category=UserWarning)
    mesh = init_device_mesh(device.type, (processes,))
    for block in units_of(network):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def part_of(whole: Tensor, like: Tensor) -> Tensor:
    """Return what `like` holds of a tensor that every process has whole; `whole` itself where `like` is not sharded."""
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gathered(named: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Return whole tensors, on the CPU where they were sharded. All processes call it; without `keep` one has none.

    One tensor after another is whole on a device, never all of them.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in named.items():
        whole = tensor
        if isinstance(tensor, DTensor):
            whole = tensor.full_tensor().detach().cpu()
        if keep:
            found[name] = whole
    return found


def by_whole_matrices(work: Callable[[Tensor], Tensor], matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return what `work` makes of stacks (K, m, n) of sharded matrices, which it treats one by one, sharded again.

    The K whole ones of a shape are shared out among the processes.
    """
    same: dict[torch.Size, list[int]] = {}
    for k, matrix in enumerate(matrices):
        same.setdefault(matrix.shape, []).append(k)
    found: dict[int, Tensor] = {}
    for places in same.values():
        stack: Any = torch.stack([matrices[k] for k in places])
        mine = stack.redistribute(placements=[Shard(0)])
        done: Any = DTensor.from_local(
            work(mine.to_local()), mine.device_mesh, [Shard(0)], run_check=False, shape=mine.shape, stride=mine.stride()
        )
        found |= zip(places, done.redistribute(placements=stack.placements), strict=True)
    return [found[k] for k in range(len(matrices))]


def number(value: Tensor) -> float:
    """Return a scalar tensor's value, which is that of the whole."""
    return float(value.full_tensor() if isinstance(value, DTensor) else value)
