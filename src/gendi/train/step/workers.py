"""Shares of a batch whose gradients threads compute beside one another.

The gradients of the shares are added in their order, so the sum does not depend on who was first.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from gendi.machine.threads import beside


def summed_gradients(losses: Sequence[Callable[[], tuple[Tensor, Tensor]]], network: nn.Module) -> list[Tensor]:
    """Add the gradients of several losses to those of a network, and return what else their functions return.

    Each function returns a scalar, whose gradient is taken, and any other tensor. Unlike `backward`, which adds to the
    gradients of the weights at once, each gradient is taken apart and added in the order of the functions.
    """
    weights = [p for p in network.parameters() if p.requires_grad]

    def work(loss: Callable[[], tuple[Tensor, Tensor]]) -> tuple[tuple[Tensor | None, ...], Tensor]:
        value, beside_it = loss()
        return torch.autograd.grad(value, weights, allow_unused=True), beside_it

    found = beside([functools.partial(work, loss) for loss in losses])
    for gradients, _ in found:
        for p, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                p.grad = gradient if p.grad is None else p.grad.add_(gradient)
    return [value for _, value in found]
