"""Bit for bit: a run stopped anywhere equals one that never was, and a sample is its own."""

import dataclasses
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_loops import assert_equal
from victims import TINY

import gendi
from gendi.errors import PreemptedError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig
from gendi.train.run.loop import train
from stop_at import StopAt

STEPS = 11


def variant(name: str) -> RunConfig:
    """The tiny run with all that has a state of its own: average, snapshots, and `name`."""
    objective, process = TINY.objective, TINY.process
    if name == "loss-aware":
        process = dataclasses.replace(process, steps=3)  # so few that weighted draws begin within the run
        objective = dataclasses.replace(
            objective, precondition=False, weighting="simple", time_sampling="loss-aware", loss="simple"
        )
    if name == "learned":
        process = dataclasses.replace(process, schedule="learned")
        objective = dataclasses.replace(objective, precondition=False, weighting="bound", time_sampling="uniform")
    return dataclasses.replace(TINY, objective=objective, process=process)


@pytest.mark.parametrize("name", ["plain", "loss-aware", "learned"])
def test_stopped_at_random_steps_equals_never_stopped(
    pictures: str, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    config, whole = variant(name), tmp_path_factory.mktemp(name) / "whole"
    train(pictures, config, whole, Budget(steps=STEPS))

    @given(steps=st.sets(st.integers(1, STEPS - 1), min_size=1, max_size=2))
    @settings(max_examples=2)
    def check(steps: set[int]) -> None:
        run = Path(tempfile.mkdtemp(dir=whole.parent)) / "run"
        for step in sorted(steps):
            with pytest.raises(PreemptedError):
                train(pictures, config, run, Budget(steps=STEPS), console=StopAt(step))
        train(pictures, config, run, Budget(steps=STEPS))
        assert_equal(run, whole)
        shutil.rmtree(run)

    check()


def test_a_sample_depends_on_no_neighbour(finished: Path) -> None:
    """Alone, in a batch of any size, asked for in another order of classes: the same up to a level of 255."""
    bundle = gendi.load(finished)
    classes = np.arange(13) % 3
    whole = gendi.sample(bundle, n=13, steps=5, seed=4, condition={"class": classes}, batch_size=13)
    for size in (1, 2, 5):
        other = gendi.sample(bundle, n=13, steps=5, seed=4, condition={"class": classes}, batch_size=size)
        assert np.abs(whole.astype(int) - other.astype(int)).max() <= 1
    fewer = gendi.sample(bundle, n=4, steps=5, seed=4, condition={"class": classes[:4]}, batch_size=13)
    assert np.abs(whole[:4].astype(int) - fewer.astype(int)).max() <= 1
    neighbours = classes.copy()
    neighbours[1:] = (neighbours[1:] + 1) % 3
    among = gendi.sample(bundle, n=13, steps=5, seed=4, condition={"class": neighbours}, batch_size=13)
    assert np.array_equal(among[0], whole[0])
    assert np.abs(whole[1:].astype(int) - among[1:].astype(int)).max() > 1  # what is told does matter
