"""Saves beside training: what is written is what was there at the time, and what goes wrong is heard of."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendi.errors import ResourceError
from gendi.train.kept.checkpoint import list_checkpoints, load_latest
from gendi.train.progress import keeping
from gendi.train.progress.keeping import Keeper
from gendi.train.progress.telling import Silent


class Heard(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(autouse=True)
def no_disk_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "QUICK", -1.0)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    keeper = Keeper(tmp_path, 120.0, 5, Heard())
    with keeper.training(None):
        yield keeper


def groups(value: float) -> dict[str, dict[str, Tensor]]:
    return {"model": {"w": torch.full((3, 4), value)}, "ema": {"w": torch.full((2, 4, 3, 3), value)}}


class Gate:
    """`save_checkpoint`, held up until the gate is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.reached = threading.Event(), threading.Event()
        self._real = keeping.save_checkpoint
        monkeypatch.setattr(keeping, "save_checkpoint", self)

    def __call__(self, *args: Any) -> Path:
        self.thread = threading.current_thread()
        self.reached.set()
        assert self.open.wait(60)
        return self._real(*args)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_training_goes_on_while_a_save_waits_for_the_disk(keeper: Keeper, gate: Gate) -> None:
    tensors = groups(1.0)
    keeper.save(1, tensors, {"images": 8}, wait=False)
    assert gate.reached.wait(60) and keeper.saving
    for group in tensors.values():  # what an optimiser does
        group["w"].add_(41.0)
    assert list_checkpoints(keeper.run) == []
    gate.open.set()
    keeper.save(2, tensors, {"images": 16}, wait=True)
    assert [step for step, _ in list_checkpoints(keeper.run)] == [1, 2]
    assert not keeper.saving
    newest = load_latest(keeper.run)
    assert newest is not None and newest.state == {"images": 16}
    (keeper.run / "checkpoints/step_00000002/state.json").unlink()
    older = load_latest(keeper.run)
    assert older is not None and older.step == 1
    for name, group in older.tensors.items():
        assert torch.equal(group["w"], groups(1.0)[name]["w"])


def test_a_save_under_way_is_seen_through_when_training_ends(tmp_path: Path, gate: Gate) -> None:
    def fails(keeper: Keeper) -> None:
        with keeper.training(None):
            keeper.save(3, groups(3.0), {}, wait=False)
            threading.Timer(0.05, gate.open.set).start()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails(Keeper(tmp_path, 120.0, 2, Silent()))
    assert [step for step, _ in list_checkpoints(tmp_path)] == [3]


def test_stopping_at_once_does_not_wait_for_the_disk(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "LAST_WORDS", 0.01)

    def stops(keeper: Keeper) -> None:
        with keeper.training(None):
            keeper.save(3, groups(3.0), {}, wait=False)
            assert gate.reached.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stops(Keeper(tmp_path, 120.0, 2, Silent()))
    assert not gate.open.is_set() and list_checkpoints(tmp_path) == []  # the gate was never opened, and we are here
    gate.open.set()
    gate.thread.join(60)


def refusing(monkeypatch: pytest.MonkeyPatch, times: int, error: BaseException) -> None:
    real, left = keeping.save_checkpoint, [error] * times

    def save(*args: Any) -> Path:
        if left:
            raise left.pop()
        return real(*args)

    monkeypatch.setattr(keeping, "save_checkpoint", save)


def warnings_of(keeper: Keeper) -> int:
    assert isinstance(keeper.console, Heard)
    assert (keeper.run / "train.log").read_text().splitlines() == keeper.console.lines
    return sum("Trying again in 120 s" in line for line in keeper.console.lines)


def test_a_disk_that_refuses_saves_is_told_of_and_given_up_after_three(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, 3, ResourceError("The disk is full."))
    for step in (1, 2, 3):
        keeper.save(step, groups(step), {}, wait=False)
    with pytest.raises(ResourceError, match="The disk is full"):
        keeper.save(4, groups(4), {}, wait=False)
    assert warnings_of(keeper) == 2


def test_a_save_that_is_waited_for_asks_the_disk_once_more(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, 3, ResourceError("The disk is full."))
    for step in (1, 2, 3):
        keeper.save(step, groups(step), {}, wait=False)
    keeper.save(4, groups(4), {}, wait=True)
    assert [step for step, _ in list_checkpoints(keeper.run)] == [4]


def test_a_save_that_succeeds_forgives_those_before(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in (1, 4):
        refusing(monkeypatch, 2, ResourceError("The disk is full."))
        for each in range(step, step + 3):
            keeper.save(each, groups(each), {}, wait=False)
        keeper.save(step + 2, groups(step + 2), {}, wait=False)  # nothing new: it waits for the one under way
    assert [step for step, _ in list_checkpoints(keeper.run)] == [3, 6]
    assert warnings_of(keeper) == 4


def test_a_defect_in_the_thread_is_no_secret(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, 1, ZeroDivisionError())
    keeper.save(1, groups(1), {}, wait=False)
    with pytest.raises(ZeroDivisionError):
        keeper.save(2, groups(2), {}, wait=True)


def test_steps_wait_for_a_quick_disk_and_no_longer_for_a_slow_one(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 120 s between saves a second of waiting is quick, and 1.5 s are not."""
    monkeypatch.setattr(keeping, "QUICK", 0.01)
    ticks = iter([0.0, 1.0, 10.0, 11.5])
    monkeypatch.setattr(keeping.time, "monotonic", lambda: next(ticks))
    keeper = Keeper(tmp_path, 120.0, 5, Silent())
    with keeper.training(None):
        gate.open.set()
        for step in (1, 2):
            keeper.save(step, groups(step), {}, wait=False)
            assert gate.thread is threading.current_thread()
        keeper.save(3, groups(3), {}, wait=False)
    assert gate.thread is not threading.current_thread()
    assert [step for step, _ in list_checkpoints(tmp_path)] == [1, 2, 3]


@pytest.mark.parametrize(("every", "room", "quick"), [(0.0, 2**40, 0.01), (120.0, 1000, -1.0)])
def test_saves_after_every_step_and_without_room_for_a_copy_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: float, room: int, quick: float
) -> None:
    monkeypatch.setattr(keeping, "QUICK", quick)

    class Memory:
        available = room

    monkeypatch.setattr(keeping.psutil, "virtual_memory", Memory)
    keeper = Keeper(tmp_path, every, 2, Silent())
    with keeper.training(None):
        keeper.save(1, groups(1), {}, wait=False)
        assert not keeper.saving
        assert [step for step, _ in list_checkpoints(tmp_path)] == [1]


def test_processes_that_are_not_the_first_write_and_say_nothing(tmp_path: Path) -> None:
    console = Heard()
    keeper = Keeper(tmp_path, 120.0, 2, console, first=False)
    keeper.log("a line")
    keeper.note("bad_steps.jsonl", "{}")
    assert console.lines == [] and list(tmp_path.iterdir()) == []
