"""Calls of a network without gradients in shares of a batch, each of which stays in the caches of its core."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeVar

import torch

from gendi.machine.threads import beside

T = TypeVar("T")
ROWS, FLOPS = 64, 1.2e10
"""The most rows of a share, and about the most FLOPs. Larger shares leave the caches; in smaller ones the start of each
operator counts."""


@dataclass(frozen=True)
class Shares:
    """How a batch is divided: into shares of at most `rows` rows, which `workers` threads go through."""

    rows: int
    workers: int

    @classmethod
    def of(cls, flops: float, threads: int) -> Self:
        """Return the shares of a network of so many FLOPs per row, for a worker per thread."""
        return cls(max(1, min(ROWS, round(FLOPS / max(1.0, flops)))), threads)

    def over(self, call: Callable[[slice], T], n: int) -> list[T]:
        """Return the results of `call` on slices that cover n rows, in the order of the rows.

        The workers are in the calling thread's inference mode, and `call` sees no gradients.
        """
        count = math.ceil(n / self.rows)
        workers = min(self.workers, count)
        count = workers * math.ceil(count / workers)
        slices = [slice(n * k // count, n * (k + 1) // count) for k in range(count)]
        inference = torch.is_inference_mode_enabled()

        def work(own: list[slice]) -> list[T]:
            with torch.inference_mode() if inference else torch.no_grad():
                return [call(rows) for rows in own]

        each = count // workers
        works = [functools.partial(work, slices[k * each : (k + 1) * each]) for k in range(workers)]
        found = beside(works) if workers > 1 else [works[0]()]
        return [share for shares in found for share in shares]
