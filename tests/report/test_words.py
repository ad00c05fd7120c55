"""The report says in words whether 2.20 against 0.25 is good, and outlines pictures on white."""

import dataclasses

import numpy as np
import pytest

from gendi.evaluate.result import Better, Check, Metric
from gendi.report.tiles import OUTLINE, grid
from gendi.report.words import in_words


@pytest.mark.parametrize(
    ("base", "value", "floor", "better", "words"),
    [
        ("fid", 2.20, 0.25, "lower", "Far from real images: 8.8 times the floor."),
        ("fid", 22.0, 0.25, "lower", "Far from real images: 88 times the floor."),
        ("fid", 0.75, 0.25, "lower", "Some way from real images: 3.0 times the floor."),
        ("fid", 0.31, 0.25, "lower", "Close to real images: 1.2 times the floor."),
        ("fid", 0.24, 0.25, "lower", "As good as real images, as far as these numbers can tell."),
        ("kid", 0.1, -0.01, "lower", "Worse than real images."),
        ("recall", 0.6, 0.9, "higher", "Far below real images, at 67% of their score."),
        ("recall", 0.89, 0.9, "higher", "Close to real images, at 99% of their score."),
        ("near-copies", 0.1, 0.01, "lower", ""),
        ("fid", None, 0.25, "lower", ""),
        ("fid", float("inf"), 0.25, "lower", ""),
    ],
)
def test_a_value_beside_its_floor(base: str, value: float | None, floor: float, better: Better, words: str) -> None:
    assert in_words(Metric(base, value, floor, better), base) == words


def test_a_tie_is_said_to_be_one() -> None:
    tie = Metric("fid-digits", 0.31, 0.28, "lower", interval=(0.19, 0.53), floor_interval=(0.22, 0.33))
    assert in_words(tie, "fid").startswith("As good as")
    failed = dataclasses.replace(tie, check=Check(100, 0.33, (None, 0.3), {}, ()))
    assert in_words(failed, "fid").startswith("Worse than as many real images")
    passed = dataclasses.replace(tie, check=Check(100, 0.29, (None, 0.3), {}, ()))
    assert in_words(passed, "fid").startswith("As good as")
    apart = Metric("fid-digits", 0.61, 0.28, "lower", interval=(0.5, 0.7), floor_interval=(0.22, 0.33))
    assert in_words(apart, "fid").startswith("Some way from")


@pytest.mark.parametrize("channels", [1, 3])
def test_white_pictures_are_outlined_and_others_are_not(channels: int) -> None:
    white, black = np.full((2, 8, 8, channels), 255, np.uint8), np.zeros((2, 8, 8, channels), np.uint8)
    shown = np.asarray(grid(white, 2, side=32))
    assert (shown[0, :32, 0] == OUTLINE).all() and (shown[1:31, 31, 0] == OUTLINE).all() and shown[16, 16, 0] == 255
    assert (np.asarray(grid(black, 2, side=32))[0, :32, 0] == 0).all()
