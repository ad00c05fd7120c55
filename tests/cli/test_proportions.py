"""Samples of unequal classes are measured on the mixture of the training pictures, not on classes in turn."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import TINY

import gendi as library
from gendi.api import measure, proportions
from gendi.api.models import Models
from gendi.api.prepared import Prepared, prepare
from gendi.api.proportions import Proportions
from gendi.api.request import Request, read_request
from gendi.cli import main
from gendi.data.dataset import Data
from gendi.data.images.sample_files import read_samples
from gendi.data.split import Split
from gendi.diffusion.config import ConditionConfig

Gendi = Callable[..., Any]


def data(**conditions: tuple[int, list[int]]) -> Data:
    """Pictures with conditions of the kind `class`: the number of classes, and the class of each picture."""
    specs = tuple(ConditionConfig(name, size=size) for name, (size, _) in conditions.items())
    rows = {name: np.array(labels) for name, (_, labels) in conditions.items()}
    pictures = np.zeros((len(next(iter(rows.values()))), 2, 2, 1), np.uint8)
    return Data("made", "made", Split(pictures, rows), Split(pictures[:1]), specs, "", None, (), (), kind="image")


def of(made: Data) -> Proportions | None:
    return Proportions.of(made.conditions, made)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=3), st.integers(0, 400))
def test_the_first_samples_have_each_class_by_its_share(counts: list[int], n: int) -> None:
    """The divisor method with at most three classes never leaves the quota: less than one sample from n p.  [Balinski
    and Young 1982, "Fair Representation", appendix A]
    """
    shares = Proportions(("class",), tuple((c,) for c in range(len(counts))), tuple(counts))
    drawn = np.bincount(shares.values(range(n))["class"], minlength=len(counts))
    expected = n * np.array(counts) / sum(counts)
    assert np.abs(drawn - expected).max() < 1
    assert drawn.sum() == n


@given(st.lists(st.integers(1, 60), min_size=1, max_size=9), st.integers(0, 300), st.integers(0, 50))
def test_a_sample_has_its_class_whatever_is_drawn_beside_it(counts: list[int], first: int, n: int) -> None:
    shares = Proportions(("class",), tuple((c,) for c in range(len(counts))), tuple(counts))
    whole = shares.values(range(first + n))["class"]
    np.testing.assert_array_equal(shares.values(range(first, first + n))["class"], whole[first:])
    everyone = np.bincount(shares.values(range(sum(counts)))["class"])
    np.testing.assert_array_equal(everyone, counts)  # a round has every row once


def test_largest_remainders_of_a_known_case() -> None:
    """21 samples of 53, 24, 23: quotas 11.13, 5.04, 4.83; the last sample goes to the largest remainder, 0.83."""
    shares = Proportions(("class",), ((0,), (1,), (2,)), (53, 24, 23))
    assert np.bincount(shares.values(range(21))["class"]).tolist() == [11, 5, 5]


def test_which_classes_are_unequal() -> None:
    assert of(data(**{"class": (3, [0] * 50 + [1] * 55 + [2] * 45)})) is None  # as digits: in turn
    found = of(data(**{"class": (3, [0] * 5 + [1] * 90 + [2] * 30)}))
    assert found == Proportions(("class",), ((0,), (1,), (2,)), (5, 90, 30))
    assert "from 5 to 90 of each" in found.in_words()
    assert of(data(**{"class": (4, [0] * 9 + [1] * 9)})) is not None  # two classes that no picture has
    missing = of(data(**{"class": (2, [0] * 5 + [1] * 5 + [-1] * 10)}))
    assert missing == Proportions(("class",), ((-1,), (0,), (1,)), (10, 5, 5))


def test_several_conditions_come_in_the_combinations_that_there_are() -> None:
    found = of(data(**{"class": (2, [0, 0, 1, 1]), "tone": (2, [0, 0, 1, 1])}))
    assert found is not None
    values = found.values(range(6))
    np.testing.assert_array_equal(values["class"], values["tone"])
    assert "class and tone" in found.in_words()


def test_a_model_of_other_classes_is_left_alone() -> None:
    made = data(**{"class": (2, [0, 1, 1, 1])})
    assert Proportions.of((), made) is None
    assert Proportions.of((ConditionConfig("class", size=3),), made) is None


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"names": ["class"], "classes": [[0]]},
        {"names": ["class"], "classes": [[0, 1]], "counts": [1]},
        {"names": ["class"], "classes": [[0]], "counts": [0]},
        {"names": ["class"], "classes": [[0]], "counts": [10**12]},
        {"names": ["class"], "classes": [[True]], "counts": [1]},
        {"names": [], "classes": [], "counts": []},
    ],
)
def test_damaged_proportions_in_a_file_are_seen(value: object) -> None:
    assert not proportions.fits(value)
    assert proportions.fits({"names": ["class"], "classes": [[0], [-1]], "counts": [1, 2]})


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps on 12 pictures of class 0 for each 4 of class 1."""
    folder = tmp_path_factory.mktemp("uneven")
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8), dtype=np.uint8)
    np.savez(folder / "tiny.npz", images=images, labels=(np.arange(32) % 4 == 3).astype(int))
    assert main(["train", str(folder / "tiny.npz"), *TINY, "--steps", "4", "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_evaluate_draws_unequal_classes_in_proportion(gendi: Gendi, uneven: Path, tmp_path: Path) -> None:
    outcome = gendi(f"evaluate {uneven} --n 8 --steps 2 --json")
    assert outcome.code == 0, outcome.err
    assert any("in the proportions of the training images" in note for note in json.loads(outcome.out)["notes"])
    archive = uneven / "samples.npz"
    shares = read_request(archive).proportions
    assert shares is not None
    labels = shares.values(range(8))["class"]
    assert np.bincount(labels).tolist() == [6, 2]
    # the samples are those of these classes asked for by name, and --again draws them again
    asked = tmp_path / "asked.npz"
    assert gendi(f"sample {uneven} --n 8 --steps 2 --class {','.join(map(str, labels))} --out {asked}").code == 0
    np.testing.assert_array_equal(read_samples(asked), read_samples(archive))
    assert gendi(f"sample --again {archive} --out {tmp_path / 'again.npz'}").code == 0
    np.testing.assert_array_equal(read_samples(tmp_path / "again.npz"), read_samples(archive))
    assert "measuring the 8 samples in" in gendi(f"evaluate {uneven} --n 8 --steps 2 --json").err
    # what is asked for goes before, and sample takes the classes in turn
    chosen = json.loads(gendi(f"evaluate {uneven} --n 4 --steps 2 --class 1 --json --out {tmp_path}/e.json").out)
    assert not any("proportions" in note for note in chosen["notes"])
    turn = tmp_path / "turn.npz"
    assert gendi(f"sample {uneven} --n 4 --steps 2 --out {turn}").code == 0
    assert read_request(turn).proportions is None


def test_measure_in_python_draws_the_same(uneven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def watched(request: Request, models: Models) -> Prepared:
        short = dataclasses.replace(request, how=dataclasses.replace(request.how, steps=2))
        asked.append((prepared := prepare(short, models)).cond["class"].numpy())
        return prepared

    monkeypatch.setattr(measure, "prepare", watched)
    library.measure(uneven, n=8)
    assert np.bincount(asked[0]).tolist() == [6, 2]


def test_equal_classes_stay_in_turn(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    outcome = gendi(f"evaluate {run} --n 4 --steps 2 --json")
    assert outcome.code == 0
    assert "proportions" not in json.loads(outcome.out)["source"]
