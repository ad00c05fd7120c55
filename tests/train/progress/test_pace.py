"""How fast a run is said to be, and how long it is said to take: with a clock that the test winds."""

import dataclasses
import itertools
import json
import math
import os
import signal
import types
from pathlib import Path
from typing import Any

import pytest

import gendi.train.progress.console as console_module
import gendi.train.run.loop as loop_module
from gendi.errors import PreemptedError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.progress import pace as pace_module
from gendi.train.progress.console import PlainConsole
from gendi.train.progress.pace import ENOUGH, HORIZON, Pace, logged_pace, worked_seconds
from gendi.train.progress.telling import Silent
from gendi.train.run.loop import train


def test_a_steady_pace_is_that_of_every_step() -> None:
    pace = Pace(Budget(steps=100), 8)
    for _ in range(30):
        pace.took(0.25)
    assert pace.step_seconds == pytest.approx(0.25, rel=1e-12)
    assert pace.fields(seconds=7.5, steps=30) == pytest.approx({"images_per_second": 32.0, "seconds_left": 70 * 0.25})


def test_recent_steps_count_by_how_long_ago_they_ended() -> None:
    seconds = [9.0, *(0.5 + 0.1 * (i % 7) for i in range(200)), *(4.0 for _ in range(9))]
    pace = Pace(Budget(steps=1000), 8)
    for each in seconds:
        pace.took(each)
    kept = seconds[1:]  # without the first of the sitting
    ended = list(itertools.accumulate(kept))
    weights = [math.exp(-(ended[-1] - end) / HORIZON) for end in ended]
    expected = sum(w * s for w, s in zip(weights, kept, strict=True)) / sum(weights)
    assert pace.step_seconds == pytest.approx(expected, rel=1e-12)


def test_the_first_step_of_a_sitting_counts_until_there_is_another() -> None:
    pace = Pace(Budget(steps=10), 8)
    assert pace.fields(seconds=0.0, steps=0) == {}
    pace.took(60.0)
    assert pace.step_seconds == 60.0
    pace.took(1.0)
    assert pace.step_seconds == 1.0


def test_the_log_is_believed_until_there_are_steps_to_go_by() -> None:
    pace = Pace(Budget(steps=1000), 8, before=2.0)
    assert pace.fields(seconds=0.0, steps=400) == {"images_per_second": 4.0, "seconds_left": 1200.0}
    for i in range(1, ENOUGH + 1):
        pace.took(0.5)
        assert pace.step_seconds == (2.0 if i < ENOUGH else 0.5)


@pytest.mark.parametrize(
    ("seconds", "processor", "usual", "worked"),
    [
        (300.0, 0.1, 0.2, 0.2),  # Ctrl-Z for five minutes
        (300.0, 3.0, 0.2, 3.0),  # and a preview before it
        (300.0, 250.0, 0.2, 300.0),  # a long evaluation
        (1.5, 0.0, 0.1, 1.5),  # too short to be told from other work on the machine
        (30.0, 0.0, 10.0, 30.0),  # steps that wait for another device are all alike
        (300.0, 0.0, None, 300.0),  # nobody knows
    ],
)
def test_a_pause_is_no_work(seconds: float, processor: float, usual: float | None, worked: float) -> None:
    assert worked_seconds(seconds, processor, usual) == worked


def test_a_pause_does_not_change_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    used = [0.0]
    monkeypatch.setattr(pace_module, "time", types.SimpleNamespace(process_time=lambda: used[0]))
    pace, spent = Pace(Budget(steps=1000), 8), 0.0
    for i in range(100):
        used[0] += 0.5
        spent += pace.lap(0.25 if i != 50 else 600.25)  # two threads
    assert pace.step_seconds == pytest.approx(0.25, rel=0.02)  # the paused step counts with its processor time
    assert spent == pytest.approx(100 * 0.25 + 0.25)


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        (Budget(steps=50), (50 - 20) * 3.0),
        (Budget(images=385), (49 - 20) * 3.0),  # 385 images are 48 batches of 8 and one more
        (Budget(seconds=100.0), 100.0 - 70.0),  # however fast it is
        (Budget(steps=20), 0.0),
        (Budget(seconds=60.0), 0.0),
    ],
)
def test_what_is_left_of_each_kind_of_budget(budget: Budget, left: float) -> None:
    assert budget.seconds_left(seconds=70.0, steps=20, batch=8, step_seconds=3.0) == left


def test_the_log_s_pace_is_that_of_its_last_lines() -> None:
    slow_then_fast = [{"step": step, "seconds": 100.0 * min(step, 50) + 1.0 * max(0, step - 50)} for step in range(100)]
    assert logged_pace(slow_then_fast, 90, 5040.0) == pytest.approx(1.0)
    assert logged_pace(slow_then_fast, 40, 4000.0) == pytest.approx(100.0)  # lines after the checkpoint do not count
    assert logged_pace([{"step": 4, "seconds": 8.0}], 6, 15.0) == pytest.approx(2.5)
    assert logged_pace([], 6, 15.0) == pytest.approx(2.5)
    assert logged_pace([], 0, 0.0) is None


# ------------------------------------------------------------------------------------------------ a run


class Watched(Silent):
    """Keeps what the console is told; asks to stop at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.stop_at, self.told = stop_at, dict[int, dict[str, Any]]()

    def progress(self, done: float, **fields: Any) -> None:
        self.told[fields["step"]] = fields
        if fields["step"] == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)


class Clock:
    """Time that passes in steps of training alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now, self.seconds = 1000.0, seconds
        monkeypatch.setattr(loop_module, "time", types.SimpleNamespace(monotonic=lambda: self.now))
        real = loop_module.Trainer.step

        def step(trainer: Any, progress: float) -> Any:
            self.now += self.seconds
            return real(trainer, progress)

        monkeypatch.setattr(loop_module.Trainer, "step", step)


@pytest.mark.parametrize(
    ("budget", "steps"), [(Budget(steps=20), 20), (Budget(images=134), 20), (Budget(seconds=44.0), 12)]
)
def test_after_a_resume_on_a_faster_machine(
    tmp_path: Path, images: str, tiny: RunConfig, monkeypatch: pytest.MonkeyPatch, budget: Budget, steps: int
) -> None:
    """The log's pace at first, then that of this sitting; time between sittings is no time of training."""
    config = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, preview_every=0))
    clock, first, second = Clock(monkeypatch, 5.0), Watched(stop_at=8), Watched()
    with pytest.raises(PreemptedError):
        train(images, config, tmp_path / "run", budget, console=first)
    clock.now, clock.seconds = clock.now + 86_400.0, 1.0
    result = train(images, config, tmp_path / "run", budget, console=second)
    assert (result.step, result.seconds) == (steps, 40.0 + steps - 8)
    batch, timed = tiny.train.batch_size, budget.seconds is not None
    for step, told in (first.told | second.told).items():
        each, spent = (5.0 if step <= 8 + ENOUGH - 1 else 1.0), 5.0 * min(step, 8) + max(0, step - 8)
        assert told["images_per_second"] == pytest.approx(batch / each), step
        assert told["seconds_left"] == pytest.approx(44.0 - spent if timed else (steps - step) * each), step
    assert sorted(second.told) == list(range(9, steps + 1))


def test_a_run_says_that_it_is_running_before_its_first_line_of_metrics(
    tmp_path: Path, images: str, tiny: RunConfig
) -> None:
    seen = []

    class Reads(Silent):
        def progress(self, done: float, **fields: Any) -> None:
            status = json.loads((tmp_path / "run" / "status.json").read_text())
            seen.append((fields["step"], status["status"], status["step"]))

    train(images, tiny, tmp_path / "run", Budget(steps=2), console=Reads())
    train(images, tiny, tmp_path / "run", Budget(steps=3), console=Reads())
    assert seen == [(1, "running", 0), (2, "running", 0), (3, "running", 2)]


def test_lines_come_at_once_and_then_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(3.0, 4.0)  # a machine that has just started
    now = [0.0]
    monkeypatch.setattr(console_module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    console = PlainConsole()
    for step, now[0] in zip(range(1, 7), clock, strict=False):
        console.progress(step / 10, step=step, loss=0.5, images_per_second=1234.4, seconds_left=3723.0)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f" {step}0.0%  step {step}  loss 0.5000  1234 images/s  1:02:03 left" for step in (1, 4)]


def test_what_is_not_known_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    PlainConsole().progress(0.0, step=0)
    assert "? images/s  ? left" in capsys.readouterr().err


def test_a_paused_run_keeps_its_budget(tmp_path: Path, images: str, tiny: RunConfig) -> None:
    """A clock that jumps by an hour in step 6, while the processor rests: the run has the time that it was given."""
    config = dataclasses.replace(tiny, train=dataclasses.replace(tiny.train, preview_every=0))
    with pytest.MonkeyPatch.context() as patch:
        clock, watched = Clock(patch, 5.0), Watched()
        step = loop_module.Trainer.step

        def paused(trainer: Any, progress: float) -> Any:
            clock.now += 3600.0 * (trainer.step_count == 5)
            return step(trainer, progress)

        patch.setattr(loop_module.Trainer, "step", paused)
        result = train(images, config, tmp_path / "run", Budget(seconds=60.0), console=watched)
    assert (result.step, result.seconds) == (12, 60.0)
    assert watched.told[6]["seconds_left"] == pytest.approx(30.0)
    assert "paused for 60 min, which is not counted as training time" in (tmp_path / "run" / "train.log").read_text()
