"""What the probe chooses, on machines that are emulated: a clock that moves by what a step would cost there."""

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendi.data import open_data
from gendi.diffusion.networks.unet import UNet
from gendi.train.config import RunConfig
from gendi.train.step import probe
from gendi.train.step.muon import orthogonalise, orthogonalise_by_gram
from gendi.train.step.probe import Choice, Options, choose, options_of
from gendi.train.step.trainer import Trainer

CPU = torch.device("cpu")


def auto(tiny: RunConfig, **train: Any) -> RunConfig:
    """Return the small run with everything left to the probe."""
    open_ = replace(tiny.train, precision="auto", layout="auto")
    return replace(tiny, network=replace(tiny.network, dropout=0.0), train=replace(open_, **train))


class Machine:
    """A processor whose clock moves when work is done, by the seconds of the network and of Muon."""

    def __init__(self, network: dict[tuple[str, str], float], muon: dict[str, float], worker: float = 1.0) -> None:
        self.network, self.muon, self.worker, self.now, self.calls = network, muon, worker, 0.0, 0

    def clock(self) -> float:
        return self.now

    def steps(self, choice: Choice) -> Callable[[], None]:
        def step() -> None:
            self.calls += 1
            self.now += self.network[choice.precision, choice.layout] * self.worker ** (choice.workers - 1)
            self.now += self.muon[choice.muon]

        return step


ALL = Options(("fp32", "bf16"), ("contiguous", "channels-last"), ("bf16", "fp32"), (1, 2))


def test_a_machine_that_is_quick_at_bf16_takes_it_for_everything() -> None:
    times = {("fp32", "contiguous"): 4.0, ("fp32", "channels-last"): 3.0, ("bf16", "contiguous"): 5.0}
    machine = Machine(times | {("bf16", "channels-last"): 1.0}, {"bf16": 0.1, "fp32": 0.3}, worker=1.2)
    chosen = choose(ALL, machine.steps, 64, machine.clock)
    assert replace(chosen, reason="", rate=0.0) == Choice("bf16", "channels-last", "", "bf16", 1)
    assert chosen.reason.startswith("bf16, channels-last, Muon in bf16: fastest whole step in a probe")
    assert "bf16 channels-last 58.2" in chosen.reason  # 64 / 1.1
    assert chosen.rate == pytest.approx(64 / 1.1)


def test_a_machine_that_emulates_bf16_in_muon_takes_fp32_there() -> None:
    """The machine of which `make demo` was 6 times slower: 1.1 of 1.43 seconds were Muon's."""
    times = {("fp32", "contiguous"): 0.5, ("fp32", "channels-last"): 0.33, ("bf16", "contiguous"): 2.0}
    machine = Machine(times | {("bf16", "channels-last"): 1.5}, {"bf16": 1.1, "fp32": 0.08}, worker=0.8)
    chosen = choose(ALL, machine.steps, 64, machine.clock)
    assert replace(chosen, reason="", rate=0.0) == Choice("fp32", "channels-last", "", "fp32", 2)


def test_the_parts_are_chosen_apart() -> None:
    """Network and Muon may differ, either way round."""
    for quick, slow in (("bf16", "fp32"), ("fp32", "bf16")):
        network = {(p, layout): 1.0 if p == quick else 2.0 for p in (quick, slow) for layout in ALL.layouts}
        machine = Machine(network, {quick: 2.0, slow: 1.0})
        chosen = choose(ALL, machine.steps, 64, machine.clock)
        assert (chosen.precision, chosen.muon) == (quick, slow)


def test_a_candidate_that_is_far_behind_is_given_up_after_one_step() -> None:
    times = {("fp32", "contiguous"): 1.0, ("fp32", "channels-last"): 1.0, ("bf16", "contiguous"): 60.0}
    machine = Machine(times | {("bf16", "channels-last"): 60.0}, {"bf16": 0.0})
    options = replace(ALL, muons=("bf16",), workers=(1,))
    assert choose(options, machine.steps, 64, machine.clock).precision == "fp32"
    assert machine.calls == 2 * 3 + 2 * 1


def test_the_making_of_kernels_does_not_count() -> None:
    """Every candidate waits a minute before its first step; without that, bf16 takes half of the time."""
    machine = Machine({(p, "contiguous"): 2.0 if p == "fp32" else 1.0 for p in ("fp32", "bf16")}, {"bf16": 0.0})

    def compiled(choice: Choice) -> Callable[[], None]:
        step, kernels = machine.steps(choice), [60.0]

        def first_slow() -> None:
            machine.now += kernels.pop() if kernels else 0.0
            step()

        return first_slow

    options = Options(("fp32", "bf16"), ("contiguous",), ("bf16",), (1,))
    assert choose(options, compiled, 64, machine.clock, compiled=True).precision == "bf16"
    assert machine.calls == 2 * 4
    assert choose(options, compiled, 64, machine.clock).precision == "fp32"


def test_a_part_without_a_choice_is_neither_timed_nor_named() -> None:
    """With the workers alone open there are two candidates: three steps each, and one figure each in the reason."""
    machine = Machine({("fp32", "contiguous"): 1.0}, {"fp32": 0.0}, worker=0.5)
    chosen = choose(Options(("fp32",), ("contiguous",), ("fp32",), (1, 2)), machine.steps, 64, machine.clock)
    assert (chosen.workers, machine.calls) == (2, 2 * 3)
    assert chosen.reason.endswith("(rows/s of 64: 1 worker 64, 2 workers 128)")


def test_what_the_device_cannot_run_is_left_out() -> None:
    def trial(choice: Choice) -> Callable[[], None]:
        if choice.precision == "bf16":
            raise RuntimeError("no bf16 here")
        return Machine({("fp32", layout): 1.0 for layout in ALL.layouts}, {"bf16": 0.0, "fp32": 0.0}).steps(choice)

    assert choose(ALL, trial, 64).precision == "fp32"

    def nothing(choice: Choice) -> Callable[[], None]:
        raise RuntimeError("out of memory")

    assert choose(ALL, nothing, 64).reason == "the device ran no candidate of the probe"


@pytest.mark.parametrize(("precision", "layout"), [("fp32", "auto"), ("bf16", "contiguous")])
def test_vectors_of_a_fixed_precision_need_no_probe(precision: str, layout: str, tiny: RunConfig) -> None:
    """Vectors have one layout, so a precision that is given leaves nothing to time."""

    def trial(choice: Choice) -> Callable[[], None]:
        raise AssertionError("a step was timed")

    options = options_of(auto(tiny, precision=precision, layout=layout), (3,), CPU, 64, 1)
    chosen = choose(options, trial, 4)
    assert (chosen.precision, chosen.layout, chosen.workers) == (precision, "contiguous", 1)


def test_a_processor_without_bf16_is_not_asked_for_it(tiny: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "has_bf16", lambda device: False)
    options = options_of(auto(tiny), (1, 28, 28), CPU, 64, 1)
    assert (options.precisions, options.muons) == (("fp32",), ("fp32",))
    fixed = options_of(auto(tiny, precision="fp32", layout="contiguous"), (1, 28, 28), CPU, 64, 1)
    assert (fixed.muons, fixed.workers, fixed.open) == (("fp32",), (1,), False)
    monkeypatch.setattr(probe, "has_bf16", lambda device: True)
    assert set(options_of(auto(tiny), (1, 28, 28), CPU, 64, 1).precisions) == {"fp32", "bf16"}


@pytest.mark.parametrize(
    ("threads", "rows", "expected"), [(1, 64, (1,)), (2, 1, (1,)), (2, 64, (1, 2)), (8, 8, (1, 2))]
)
def test_workers_are_those_that_have_threads_and_rows(
    tiny: RunConfig, monkeypatch: pytest.MonkeyPatch, threads: int, rows: int, expected: tuple[int, ...]
) -> None:
    """A network so large that the probe takes a single row leaves one worker."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert options_of(auto(tiny), (1, 28, 28), CPU, rows, 1).workers == expected


def test_whole_steps_are_timed_and_leave_no_trace(
    images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network and Muon move the clock of a real trainer; its first step is that of a trainer without a probe."""
    machine = Machine({}, {})
    data, config = open_data(images), auto(tiny)

    def in_bf16(matrices: Tensor) -> Tensor:
        machine.now += 1.0
        return orthogonalise(matrices)

    def in_fp32(matrices: Sequence[Tensor]) -> list[Tensor]:
        machine.now += 0.1
        return orthogonalise_by_gram(matrices)

    def forward(self: nn.Module, x: Tensor, *args: Any, **cond: Any) -> Tensor:
        machine.now += 0.3 if torch.is_autocast_enabled("cpu") else 2.0
        return original(self, x, *args, **cond)

    original = UNet.forward
    monkeypatch.setattr(probe, "has_bf16", lambda device: True)
    monkeypatch.setattr("gendi.train.step.muon.orthogonalise", in_bf16)
    monkeypatch.setattr("gendi.train.step.muon.orthogonalise_by_gram", in_fp32)
    monkeypatch.setattr(UNet, "forward", forward)
    monkeypatch.setattr("gendi.train.step.trainer.choose", functools.partial(choose, clock=machine.clock))
    probed = Trainer(config, data)
    assert (probed.choice.precision, probed.choice.muon) == ("bf16", "fp32")
    plain = Trainer(config, data, copy.copy(probed.choice))
    assert probed.step_count == 0
    for _ in range(2):
        assert probed.step(0.5) == plain.step(0.5)
    for a, b in zip(probed.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(a, b)
