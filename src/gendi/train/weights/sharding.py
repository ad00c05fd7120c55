"""Networks that do not fit on one device: weights, gradients, averages and moments are divided among the processes.

PyTorch's FSDP2 divides the rows of every tensor (its first dimension) among the processes. It gathers the weights of a
block when the block runs, and divides the gradients again as they are summed. Up to round-off, the results are those of
several processes without sharding. Files hold whole tensors, so that any number of processes can resume from them.

Sharded tensors are `DTensor`s, which have the shape of the whole; plain tensors pass unchanged through every function
of
this module.  [Zhao et al. 2023, "PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel"]
"""

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gendi.diffusion.networks.roles import units_of


def shard(network: nn.Module, device: torch.device, processes: int) -> None:
    """Divide the weights of `network`, which every process has whole, among the processes, in place.

    The blocks move to `device` one at a time.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    # The warning does not apply, since the denoiser does not change the output in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor", category=UserWarning)
    mesh = init_device_mesh(device.type, (processes,))
    for block in units_of(network):
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)


def _is_sharded(tensor: Any) -> bool:
    """Return whether a tensor is sharded. None is before the module of sharded tensors is loaded, which takes long."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def part_of(whole: Tensor, like: Any) -> Tensor:
    """Return the shard of a whole tensor that corresponds to `like`; `whole` itself if `like` is not sharded."""
    if not _is_sharded(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gathered(named: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Return whole tensors; sharded ones are gathered on the CPU. All processes must call this.

    A process without `keep` takes part but gets no tensors. Only one tensor at a time is whole on a device.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in named.items():
        whole: Any = tensor
        if _is_sharded(tensor):
            whole = whole.full_tensor().detach().cpu()
        if keep:
            found[name] = whole
    return found


def by_whole_matrices(work: Callable[[Tensor], Tensor], matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return the results of `work` on sharded matrices, sharded again.

    `work` takes stacks (K, m, n) of whole matrices and treats each of them alone. The whole matrices of one shape are
    divided among the processes.
    """
    from torch.distributed.tensor import DTensor, Shard

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


def number(value: Any) -> float:
    """Return the value of a scalar tensor, of the whole if it is sharded."""
    return float(value.full_tensor() if _is_sharded(value) else value)
