"""Work that threads do beside one another, dividing the cores.

An operator on two threads waits for the slower of them, a hundred times a step; two threads with half of the rows each
wait once.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

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


@functools.cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    # torch keeps the number of threads that an operator may use for each thread of the process
    return ThreadPoolExecutor(workers, "gendi-worker", functools.partial(torch.set_num_threads, threads))
