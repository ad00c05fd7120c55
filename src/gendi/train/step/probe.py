"""Chooses precision, memory layout and workers by timing whole steps of training on the device."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import nn

from gendi.machine.hardware import has_bf16
from gendi.train.config import RunConfig

ROUNDS = 2
GIVE_UP = 3.0
"""A candidate whose first step takes so many times as long as the best one's, and a second, is not timed again."""
FLOPS = 6e10
"""About how much the steps of the probe compute, in FLOPs; batches that take more are cut to fewer rows."""
N = TypeVar("N", bound=nn.Module)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


@dataclass(frozen=True)
class Choice:
    """What was chosen, and one line that says why. Checkpoints hold it, so that a run goes on as it began.

    The defaults are what versions computed in that did not choose it.
    """

    precision: str
    """Arithmetic of the network: "fp32" or "bf16"."""
    layout: str
    """Memory layout of images: "contiguous" or "channels-last"."""
    reason: str
    muon: str = "bf16"
    """Arithmetic of Muon's products of matrices: "fp32" or "bf16"."""
    workers: int = 1
    """Threads that compute shares of a batch beside one another."""
    rate: float = 0.0
    """Rows per second of the probe's best step; 0 if nothing was timed."""


@dataclass(frozen=True)
class Options:
    """What may be chosen, the first of each being what is taken if nothing is timed."""

    precisions: Sequence[str]
    layouts: Sequence[str]
    muons: Sequence[str]
    workers: Sequence[int]

    @property
    def open(self) -> bool:
        """Whether there is anything to time."""
        return max(map(len, (self.precisions, self.layouts, self.muons, self.workers))) > 1

    def first(self, reason: str) -> Choice:
        return Choice(self.precisions[0], self.layouts[0], reason, self.muons[0], self.workers[0])


def options_of(config: RunConfig, shape: tuple[int, ...], device: torch.device, rows: int, processes: int) -> Options:
    """Return the options of a run on samples of `shape`, of which this process computes `rows` in a step.

    Where precision and layout are given, no clock decides on Muon's precision and the workers either: the processor's
    instructions decide on the one, and the other is 1. So two such runs on a machine are equal.
    """
    train, quick = config.train, ("bf16", "fp32") if has_bf16(device) else ("fp32",)
    precisions = quick[::-1] if train.precision == "auto" else (train.precision,)
    layouts = (tuple(LAYOUTS) if len(shape) == 3 else ("contiguous",)) if train.layout == "auto" else (train.layout,)
    given = len(precisions) == len(layouts) == 1 and train.precision != "auto"
    muons = quick if config.optim.muon_precision == "auto" else (config.optim.muon_precision,)
    if given or config.optim.name != "muon":
        muons = muons[:1]
    workers: tuple[int, ...] = (max(1, train.workers),)
    threads = torch.get_num_threads()
    alone = device.type == "cpu" and processes == 1 and config.network.dropout == 0 and not train.compile
    if train.workers == 0 and alone and not given:
        workers = tuple(k for k in sorted({1, 2, threads}) if k == 1 or (k <= threads and 2 * k <= rows))
    return Options(precisions, layouts, muons, workers)


def choose(
    options: Options,
    trial: Callable[[Choice], Callable[[], object]],
    rows: int,
    clock: Callable[[], float] = time.perf_counter,
    compiled: bool = False,
) -> Choice:
    """Return the fastest choice among the options.

    Args:
        options: what may be chosen.
        trial: returns for a choice a function that does a whole step of training on a copy of the run.
        rows: the rows of such a step.
        clock: the seconds, from any start.
        compiled: whether a candidate's first step waits for its kernels to be made, so that its time says nothing.

    Precision and layout of the network are chosen first, together; then Muon's precision; then the workers. A part with
    a single option is passed over, and no step is timed or named on its account. A candidate does a first step that is
    not timed, and the better of two more counts. One that is far behind after its first step is given up, and one that
    the device cannot run is left out.
    """
    if not options.open:
        first = options.first("")
        return replace(first, reason=f"{first.precision}, {first.layout}: as requested")
    timer = _Timer(trial, clock, compiled)
    best, said = options.first("the device ran no candidate of the probe"), []
    for part in (_networks, _muons, _workers):
        candidates = {name: replace(best, **change) for name, change in part(options)}
        if len(candidates) == 1:
            continue
        found = {name: timer.seconds(candidate) for name, candidate in candidates.items()}
        times = {name: seconds for name, seconds in found.items() if seconds is not None}
        if times:
            best = candidates[min(times, key=times.__getitem__)]
            said.append(", ".join(f"{name} {rows / seconds:.3g}" for name, seconds in times.items()))
    if not said:
        return best
    named = f"{best.precision}, {best.layout}"
    if len(options.muons) > 1:
        named += f", Muon in {best.muon}"
    if best.workers > 1:
        named += f", {best.workers} workers"
    rate = 0.0 if timer.best == float("inf") else rows / timer.best
    return replace(
        best, rate=rate, reason=f"{named}: fastest whole step in a probe (rows/s of {rows}: {'; '.join(said)})"
    )


def _networks(options: Options) -> Iterator[tuple[str, dict[str, str]]]:
    for layout in options.layouts:
        for precision in options.precisions:
            yield f"{precision} {layout}", {"precision": precision, "layout": layout}


def _muons(options: Options) -> Iterator[tuple[str, dict[str, str]]]:
    for muon in options.muons:
        yield f"Muon in {muon}", {"muon": muon}


def _workers(options: Options) -> Iterator[tuple[str, dict[str, int]]]:
    for workers in options.workers:
        yield f"{workers} worker{'s' * (workers > 1)}", {"workers": workers}


class _Timer:
    def __init__(
        self, trial: Callable[[Choice], Callable[[], object]], clock: Callable[[], float], compiled: bool
    ) -> None:
        self.trial, self.clock, self.compiled, self.best = trial, clock, compiled, float("inf")
        self.known: dict[tuple[object, ...], float | None] = {}

    def seconds(self, choice: Choice) -> float | None:
        """Return the time of a step, or None if the device cannot run it."""
        key = (choice.precision, choice.layout, choice.muon, choice.workers)
        if key not in self.known:
            self.known[key] = self._measured(choice)
        return self.known[key]

    def _measured(self, choice: Choice) -> float | None:
        try:
            step = self.trial(choice)
            if self.compiled:
                step()
            first = self._once(step)
            if first > GIVE_UP * self.best + 1:
                return first
            seconds = min(self._once(step) for _ in range(ROUNDS))
        except (RuntimeError, NotImplementedError):
            return None
        self.best = min(self.best, seconds)
        return seconds

    def _once(self, step: Callable[[], object]) -> float:
        start = self.clock()
        step()
        return self.clock() - start


def place(network: N, device: torch.device, layout: str) -> N:
    """Move a network to `device` in a memory layout, in place, and return it."""
    network.to(device)
    network.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]  # torch's stubs lack the 4-D only form
    return network
