"""What denoisers that hold a network have in common, whatever the family: how the network is called."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gendi.diffusion.conditions import Conditions
from gendi.diffusion.shares import Shares

T = TypeVar("T")
D = TypeVar("D", bound="Trained")
ALL = slice(None)
"""The rows of a whole batch, from which no views are taken."""


class Trained(nn.Module):
    """A network and what its outputs mean.

    Args:
        network: the network.
        precision: "fp32", or "bf16" to run the network (and nothing else) under bf16 autocast.
        clip: what bounds the answers of a family that has such a bound; None for none.
    """

    def __init__(self, network: nn.Module, precision: str = "fp32", clip: float | None = None) -> None:
        super().__init__()
        self.network, self.precision, self.clip = network, precision, clip
        self.told: Mapping[str, float] = {}
        """Numbers that the network is told in every row, by the name of the condition, unless a call says otherwise."""
        self.shares: Shares | None = None
        """How calls without gradients divide a batch; None calls the network on all of it."""

    def under(self, process: Any) -> None:
        """Let the denoiser work under another schedule, or another process of a family that has one."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it works under")

    def by_shares(self, call: Callable[[slice], T], n: int) -> list[T]:
        """Return the results of `call` on slices that cover n rows, which are divided if no gradients are wanted."""
        if self.shares is None or torch.is_grad_enabled():
            return [call(ALL)]
        return self.shares.over(call, n)


def bare(denoiser: D, precision: str | None = None) -> D:
    """Return a denoiser without the wrapper that joins the gradients of several processes, or with another precision.

    The wrapper takes every call for one whose gradient is to be joined: it waits for the other processes, or spoils
    the next call that is one. The network is the same, and so is everything else that the denoiser holds.
    """
    network = denoiser.network
    inner = network.module if isinstance(network, DistributedDataParallel) else network
    if inner is network and precision in (None, denoiser.precision):
        return denoiser
    own = copy.copy(denoiser)
    own._modules = {**denoiser._modules, "network": inner}
    own.precision = precision or denoiser.precision
    return own


def part_of(values: Tensor, rows: slice) -> Tensor:
    """Return some rows; the tensor itself if all are wanted."""
    return values if rows == ALL else values[rows]


def parts_of(cond: Conditions, rows: slice) -> dict[str, Tensor]:
    """Return some rows of conditions."""
    return {name: part_of(values, rows) for name, values in cond.items()}
