"""How many samples are drawn where --n does not say it: 5000 where that takes under a minute, 1000 elsewhere."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gendi.cli import evaluate, how_many
from gendi.data import open_data

Gendi = Callable[..., Any]


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, and 8 and 4 in the place of 5000 and 1000."""
    for module in (evaluate, how_many):
        monkeypatch.setattr(module, "MANY", 8)
        monkeypatch.setattr(module, "USUAL", 4)
    monkeypatch.setattr(how_many, "TRIAL", 2)
    monkeypatch.setattr(evaluate, "affordable", lambda data: 8)
    shutil.copytree(tiny_run, tmp_path / "run")
    return tmp_path / "run"


def measured(gendi: Gendi, run: Path, *words: str) -> tuple[int, str]:
    outcome = gendi("evaluate", str(run), "--steps", "2", "--json", *words)
    assert outcome.code == 0
    return json.loads(outcome.out)["n"], outcome.err


def test_many_where_it_is_quick_and_the_archive_is_used_again(gendi: Gendi, run: Path) -> None:
    n, said = measured(gendi, run)
    assert n == 8 and "8 samples, as drawing them takes about" in said and "--n 4 draws fewer" in said
    n, said = measured(gendi, run)
    assert n == 8 and "measuring the 8 samples in" in said and "take about" not in said
    assert measured(gendi, run, "--n", "3")[0] == 3  # what is asked for goes before
    assert measured(gendi, run)[0] == 8  # an archive of another number does not


def test_fewer_where_many_take_too_long(gendi: Gendi, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(how_many, "MOST_SECONDS", 0.0)
    n, said = measured(gendi, run)
    assert n == 4 and "4 samples, as 8 would take about" in said and "--n 8 draws them" in said
    assert measured(gendi, run)[0] == 4
    assert (run / "samples.npz").is_file()


def test_the_samples_are_those_that_n_would_have_drawn(gendi: Gendi, run: Path) -> None:
    measured(gendi, run)
    chosen = (run / "samples.npz").read_bytes()
    (run / "samples.npz").unlink()
    measured(gendi, run, "--n", "8")
    assert (run / "samples.npz").read_bytes() == chosen


def test_few_held_out_pictures_do_not_call_for_many_samples(tiny_data: Path) -> None:
    """16 pictures, of which some are held out, are fewer than 5000."""
    assert how_many.affordable(open_data(str(tiny_data))) == how_many.USUAL == 1000
