"""The quality that a run foretells: on the straight line between two measured points, and silent where none holds."""

import dataclasses
import json
import statistics
from pathlib import Path

import pytest

import gendi.train.run.expectation as expectation
from gendi.train.presets import PRESETS, Preset, Reached
from gendi.train.run.expectation import expected_of

MNIST = PRESETS["mnist"].config


@pytest.fixture
def curve(monkeypatch: pytest.MonkeyPatch) -> Preset:
    points = (Reached(40_000, 0.80, 0.96), Reached(160_000, 0.20, 0.99))
    preset = dataclasses.replace(PRESETS["mnist"], curve=points)
    monkeypatch.setattr(expectation, "PRESETS", {"mnist": preset})
    return preset


def test_between_two_points_logarithms_are_straight(curve: Preset) -> None:
    # 80,000 is half way from 40,000 to 160,000 on a scale of logarithms: the geometric means of 0.80 and 0.20, and of
    # 4% and 1%, are 0.40 and 2%
    said = expected_of(MNIST, "mnist", 80_000)
    assert "about 0.40 above" in said and "confidence of 98.0%" in said


def test_a_measured_point_is_itself_and_beyond_the_last_nothing_is_promised(curve: Preset) -> None:
    assert "about 0.80 above" in expected_of(MNIST, "mnist", 40_000)
    beyond = expected_of(MNIST, "mnist", 10**7)
    assert "about 0.20 above" in beyond and beyond.endswith("or better")
    assert expected_of(MNIST, "mnist", 39_999) == ""


def test_nothing_is_foretold_of_other_data_or_another_recipe(curve: Preset) -> None:
    assert expected_of(MNIST, "fashion-mnist", 80_000) == ""
    assert expected_of(dataclasses.replace(MNIST, preset="icons"), "mnist", 80_000) == ""
    wider = dataclasses.replace(MNIST, network=dataclasses.replace(MNIST.network, channels=(64, 64)))
    assert expected_of(wider, "mnist", 80_000) == ""
    unguided = dataclasses.replace(MNIST, sample=dataclasses.replace(MNIST.sample, guidance=1.0))
    assert expected_of(unguided, "mnist", 80_000) == ""
    # what decides speed alone changes nothing
    elsewhere = dataclasses.replace(MNIST, train=dataclasses.replace(MNIST.train, precision="fp32", seed=3))
    assert "about 0.40 above" in expected_of(elsewhere, "mnist", 80_000)


def test_the_curve_of_the_preset_is_that_of_the_measured_runs() -> None:
    records = Path(__file__).parents[3] / "benchmarks" / "results" / "speedrun.json"
    levels, preset = "network.channels=48 48", PRESETS["mnist"]
    runs = [run for run in json.loads(records.read_text("utf-8"))["runs"] if levels in run["set"]]
    for point in preset.curve:
        near = [run for run in runs if abs(run["images"] - point.images) < 0.1 * point.images]
        assert statistics.median(run["excess"] for run in near) == pytest.approx(point.excess, abs=0.006)
        assert statistics.median(run["confidence"] for run in near) == pytest.approx(point.confidence, abs=0.0006)
    assert len(preset.curve) >= 2
