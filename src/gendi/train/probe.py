"""Chooses precision and memory layout by timing a few steps of the network on the device."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

PROBE_BATCH = 32
ROUNDS = 2
N = TypeVar("N", bound=nn.Module)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


@dataclass(frozen=True)
class Choice:
    """The precision and the layout that were chosen, and one line that says why."""

    precision: str
    layout: str
    reason: str


def choose(
    network: nn.Module,
    shape: tuple[int, ...],
    batch_size: int,
    device: torch.device,
    precision: str = "auto",
    layout: str = "auto",
    clock: Callable[[], float] = time.perf_counter,
) -> Choice:
    """Return the fastest precision and layout; each of them can be fixed or `auto`.

    Each candidate does a first step that is not timed. Then the candidates are timed in turn, twice each, and the
    better time counts. A step is a forward and a backward pass. A candidate that the device cannot run is left out.
    """
    precisions = ["fp32", "bf16"] if precision == "auto" else [precision]
    layouts = (list(LAYOUTS) if len(shape) == 3 else ["contiguous"]) if layout == "auto" else [layout]
    if len(precisions) == len(layouts) == 1:
        return Choice(precisions[0], layouts[0], f"{precisions[0]}, {layouts[0]}: as requested")
    batch = min(PROBE_BATCH, batch_size)
    x = torch.linspace(-1, 1, batch * math.prod(shape), device=device).reshape(batch, *shape)
    times: dict[tuple[str, str], float] = {}
    for layout_name in layouts:
        trial = place(copy.deepcopy(network), device, layout_name)
        for precision_name in precisions:
            try:
                seconds = [_step(trial, x, precision_name, clock) for _ in range(ROUNDS + 1)]
            except (RuntimeError, NotImplementedError):
                continue
            times[precision_name, layout_name] = min(seconds[1:])
    if not times:
        return Choice("fp32", "contiguous", "fp32, contiguous: the device ran no candidate of the probe")
    best = min(times, key=lambda key: times[key])
    table = ", ".join(f"{p} {name} {batch / s:.0f}" for (p, name), s in times.items())
    return Choice(*best, f"{best[0]}, {best[1]}: fastest in a probe (images/s at batch {batch}: {table})")


def place(network: N, device: torch.device, layout: str) -> N:
    """Move a network to `device` in a memory layout, in place, and return it."""
    network.to(device)
    network.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]  # torch's stubs lack the 4-D only form
    return network


def _step(network: nn.Module, x: Tensor, precision: str, clock: Callable[[], float]) -> float:
    start = clock()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        out = network(x, torch.zeros(len(x), device=x.device))
    out.float().square().mean().backward()
    network.zero_grad(set_to_none=True)
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return clock() - start
