"""Shares of a batch that are computed beside one another, by threads that divide the cores.

An operator on two threads waits for the slower of them, a hundred times a step; two threads with half a batch each wait
once. The gradients of the shares are added in their order, so the sum does not depend on who was first.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")


def beside(works: Sequence[Callable[[], T]]) -> list[T]:
    """Call the functions beside one another, each with an equal share of torch's threads, and return their results.

    The first runs in the calling thread. An error of any of them is raised when all have ended.
    """
    threads = torch.get_num_threads()
    each = max(1, threads // len(works))
    pool = _pool(len(works) - 1, each)
    torch.set_num_threads(each)
    try:
        others = [pool.submit(work) for work in works[1:]]
        try:
            own = works[0]()
        finally:
            wait(others)
    finally:
        torch.set_num_threads(threads)
    return [own, *(other.result() for other in others)]


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


@functools.cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    # torch keeps the number of threads that an operator may use for each thread of the process
    return ThreadPoolExecutor(workers, "gendi-worker", functools.partial(torch.set_num_threads, threads))
