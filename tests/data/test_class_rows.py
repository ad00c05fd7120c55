"""Samples of requested classes: archives hold the classes, grids have a row for each, and are read back exactly."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendi.data import open_data
from gendi.data.images.class_rows import Asked
from gendi.data.images.pictures import grid_image
from gendi.data.images.sample_files import read_samples, write_samples

NAMES = ("ant", "bee", "a name that is much too long for a margin")


def images(n: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 6, 7, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("labels", [[0, 1, 2] * 3, [2, 2, 0, 1], [0] * 45 + [1] * 3, [1, -1]])
def test_a_grid_of_classes_is_read_back_in_the_order_of_the_samples(
    tmp_path: Path, labels: list[int], channels: int
) -> None:
    rows = images(len(labels), channels)
    write_samples(tmp_path / "x.png", rows, asked=Asked(np.array(labels), NAMES, True))
    assert (read_samples(tmp_path / "x.png") == rows).all()
    with Image.open(tmp_path / "x.png") as sheet:
        columns = min(20, max(map(labels.count, labels)))
        lines = sum(math.ceil(labels.count(label) / columns) for label in set(labels))
        assert sheet.height == lines * (6 * 4 + 2) + 2
        assert sheet.width > columns * (7 * 4 + 2) + 2 + 15  # names stand on the left


def test_classes_that_came_in_turn_have_a_plain_grid(tmp_path: Path) -> None:
    write_samples(tmp_path / "a.png", images(9), asked=Asked(np.arange(9) % 3, NAMES, False))
    write_samples(tmp_path / "b.png", images(9))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_an_archive_holds_the_classes_and_can_be_learned_from(tmp_path: Path) -> None:
    labels = np.arange(60) % 3
    write_samples(tmp_path / "x.npz", images(60), asked=Asked(labels, NAMES, True))
    with np.load(tmp_path / "x.npz") as arrays:
        assert (arrays["labels"] == labels).all() and tuple(arrays["labels_names"]) == NAMES
    assert open_data(str(tmp_path / "x.npz")).class_names == NAMES


def test_captions_stand_below_pictures() -> None:
    rows = np.zeros((2, 40, 40, 3), np.uint8)
    plain, named = grid_image(rows, 2, 1), grid_image(rows, 2, 1, captions=("given", "1"))
    assert named.height == plain.height + 14 and named.width == plain.width
    strip = np.asarray(named)[42:54]
    assert (strip > 200).any(0).any(1)[2:42].sum() > (strip > 200).any(0).any(1)[44:].sum() > 0
