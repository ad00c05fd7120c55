"""Which preset pictures get, and what is seen of a folder before hours are spent on it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendi.data import check_data, open_data
from gendi.data.images.first_look import Look, look_at
from gendi.data.images.near_duplicates import count_across_classes
from gendi.data.kinds import default_preset
from gendi.data.split import Split
from gendi.train.config import RunConfig
from gendi.train.kept.inherit import usual_preset


def folder_of(place: Path, *pictures: np.ndarray, name: str = "") -> Path:
    (place / name).mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(place / name / f"{i:03d}.png")
    return place


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(
    ("shape", "size", "look", "preset"),
    [
        ((28, 28), None, Look(28, 28, False), "mnist"),
        ((8, 8, 3), None, Look(8, 8, True), "mnist"),
        ((32, 32, 3), None, Look(32, 32, True), "icons"),
        ((64, 64, 3), None, Look(64, 64, True), "icons-64"),
        ((64, 48), None, Look(64, 48, False), "icons-64"),
        ((64, 64, 3), (32, 32), Look(32, 32, True), "icons"),
    ],
)
def test_size_and_colours_decide_the_preset(
    tmp_path: Path, shape: tuple[int, ...], size: tuple[int, int] | None, look: Look, preset: str
) -> None:
    folder = folder_of(tmp_path / "photos", *(noise(*shape, seed=i) for i in range(5)))
    assert look_at(str(folder), size) == look
    assert default_preset(str(folder), size) == default_preset(folder, size) == preset
    np.savez(tmp_path / "photos.npz", images=noise(5, *shape), labels=np.arange(5))
    assert default_preset(str(tmp_path / "photos.npz"), size) == preset


def test_the_commonest_size_decides_as_it_does_for_the_data(tmp_path: Path) -> None:
    """Of three sizes that are nearly as frequent, 24 x 24 has one picture more; a few of the files do not show that."""
    pictures = [noise(side, side, 3, seed=i) for i in range(40) for side in (48, 32, 24)]
    folder = folder_of(tmp_path / "icons", *pictures, noise(24, 24, 3, seed=99))
    assert look_at(str(folder), None) == Look(24, 24, True)
    assert open_data(str(folder)).train.rows.shape[1:] == (24, 24, 3)
    assert default_preset(str(folder)) == "icons"


def test_grey_pictures_in_files_of_colour_are_grey(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a", *(noise(28, 28, 1, seed=i).repeat(3, 2) for i in range(3)))
    assert look_at(str(folder), None) == Look(28, 28, False)


def test_what_cannot_be_read_has_the_usual_preset(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.npz").write_text("no archive")
    (tmp_path / "y.npy").write_text("no array")
    for spec in ("empty", "x.npz", "y.npy", "nowhere"):
        assert default_preset(str(tmp_path / spec)) == "mnist"
    assert default_preset("mnist") == default_preset("fashion-mnist") == "mnist"


def test_a_run_that_began_with_a_preset_goes_on_with_it(tmp_path: Path) -> None:
    from gendi.storage.toml import write_toml

    folder, run = folder_of(tmp_path / "photos", noise(32, 32, 3), noise(32, 32, 3)), tmp_path / "run"
    assert usual_preset(str(folder), None, run, False) == "icons"
    run.mkdir()
    write_toml(run / "config.toml", {"config": RunConfig(preset="mnist").to_dict()})
    assert usual_preset(str(folder), None, run, False) == "mnist"
    assert usual_preset(str(folder), None, run, True) == "icons"


def test_folders_that_are_sizes_and_blank_pictures_are_told(tmp_path: Path) -> None:
    blank = np.full((8, 8, 3), 255, np.uint8)
    for k, name in enumerate(("16x16", "32x32")):
        folder_of(tmp_path, *(noise(8, 8, 3, seed=10 * k + i) for i in range(4)), blank, name=name)
    notes = " ".join(open_data(str(tmp_path)).notes)
    assert "2 of 10 images are of a single colour" in notes
    assert "16x16, 32x32 look like sizes and not like classes" in notes and "--condition none" in notes


def test_other_folders_are_classes(tmp_path: Path) -> None:
    for k, name in enumerate(("3", "8", "16")):  # digits are classes, whatever else they could be
        folder_of(tmp_path, noise(8, 8, seed=k), noise(8, 8, seed=10 + k), name=name)
    assert not any("warning" in note for note in open_data(str(tmp_path)).notes)


def smooth(n: int, seed: int = 0) -> np.ndarray:
    """Pictures of four blocks of random greys each."""
    return noise(n, 2, 2, 1, seed=seed).repeat(8, 1).repeat(8, 2)


def test_near_duplicates_in_other_classes_are_counted() -> None:
    """Three of ten pictures come again in the other class, a level or two lighter; a blank one does not count."""
    first = smooth(10).clip(0, 250)
    blank = np.zeros((1, 16, 16, 1), np.uint8)
    rows = np.concatenate([first, first[:3] + 2, smooth(5, seed=9), blank, blank])
    labels = np.array([0] * 10 + [1] * 8 + [0, 1])
    assert count_across_classes(Split(rows, {"class": labels})) == 6
    assert count_across_classes(Split(rows, {"class": np.zeros(20, np.int64)})) == 0
    assert count_across_classes(Split(rows)) == 0


def test_a_flat_background_hides_no_near_duplicate_and_faint_pictures_are_none() -> None:
    """A white picture with a black square comes again with another corner, at half the size and back, and as noise of a
    level. Pictures that differ in a faint mark, and one whose square is elsewhere, are others."""
    square = np.full((1, 16, 16, 1), 255, np.uint8)
    square[:, 4:10, 4:10] = 0
    corner = square.copy()
    corner[0, 0, 0] = 240
    again = square[:, ::2, ::2].repeat(2, 1).repeat(2, 2)
    noisy = square - np.random.default_rng(0).integers(0, 2, square.shape).astype(np.uint8).clip(0, square)
    moved = np.roll(square, 3, axis=1)
    faint, other = np.full((1, 16, 16, 1), 255, np.uint8), np.full((1, 16, 16, 1), 255, np.uint8)
    faint[:, 2:5, 2:5] = other[:, 10:13, 10:13] = 250

    def count(first: np.ndarray, second: np.ndarray) -> int:
        return count_across_classes(Split(np.concatenate([first, second]), {"class": np.array([0, 1])}))

    assert [count(square, copy) for copy in (corner, again, noisy)] == [2, 2, 2]
    assert count(square, moved) == count(faint, other) == 0


def test_the_check_reports_them(tmp_path: Path) -> None:
    rows = np.concatenate([smooth(20), smooth(20)])
    np.savez(tmp_path / "twice.npz", images=rows, labels=np.repeat([0, 1], 20))
    report = check_data(str(tmp_path / "twice.npz"))
    assert report.across_classes > 30 and report.blank == 0  # some are held out
