"""A run says what runs of its length have reached, where somebody has measured it."""

import dataclasses
import math

import pytest

from gendi.train.config import RunConfig
from gendi.train.presets import PRESETS, Reached
from gendi.train.run.expectation import between, expected_of

# An excess that falls as 1 / images, and doubts that fall as its root.
CURVE = tuple(Reached(images, 40_000 / images, 1 - 0.04 * (10_000 / images) ** 0.5) for images in (10_000, 90_000))


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    preset = dataclasses.replace(PRESETS["mnist"], curve=CURVE)
    monkeypatch.setitem(PRESETS, "mnist", preset)
    return preset.config


def test_powers_of_the_images_are_met_exactly() -> None:
    for images in (10_000, 20_000, 77_777, 90_000):
        found = between(CURVE, images)
        assert found is not None
        assert math.isclose(found.excess, 40_000 / images)
        assert math.isclose(1 - found.confidence, 0.04 * (10_000 / images) ** 0.5)
    assert between(CURVE, 9_999) is None and between(CURVE, 90_001) is None and between((), 5) is None


def test_what_is_said(config: RunConfig) -> None:
    said = expected_of(config, "mnist", 40_000)
    assert said is not None
    assert said.startswith("runs of so many images reached about 98.0% confidence") and "1.00 above" in said
    assert "this one will see fewer" in str(expected_of(config, "mnist", 5_000))
    assert "runs of 90,000 images reached about 98.7%" in str(expected_of(config, "mnist", 1e6))


def test_what_nobody_measured_is_not_foretold(config: RunConfig) -> None:
    wide = dataclasses.replace(config, network=dataclasses.replace(config.network, channels=(8, 16)))
    quick = dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=1e-2))
    assert expected_of(wide, "mnist", 40_000) is None
    assert expected_of(quick, "mnist", 40_000) is None
    assert expected_of(config, "photos", 40_000) is None
    assert expected_of(PRESETS["cells"].config, "mnist", 40_000) is None
    fp32 = dataclasses.replace(config, optim=dataclasses.replace(config.optim, muon_precision="fp32"))
    assert expected_of(fp32, "mnist", 40_000) is not None
