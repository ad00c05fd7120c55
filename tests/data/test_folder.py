"""Folders of pictures: order, classes, modes, sizes."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_pictures import Save, pixels

from gendi.data.images.folder import load_folder
from gendi.data.images.pixels import resize


@pytest.mark.parametrize(("height", "width"), [(27, 31), (28, 28), (96, 64), (1, 1), (1, 50)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_odd_sizes_are_kept(folder: Path, save: Save, height: int, width: int, mode: str) -> None:
    paths = [save(f"{i:02}.png", height, width, mode) for i in range(3)]
    loaded = load_folder(folder)
    np.testing.assert_array_equal(loaded.rows, np.stack([pixels(path) for path in paths]))
    assert loaded.notes == loaded.skipped == ()


def test_order_is_by_name_whatever_the_disk_says(folder: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.png", "a/z.png", "a/c.png", "B.png", "a10.png", "a9.png"):
        save(name)
    before = load_folder(folder).rows
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((root, dirs, files[::-1]) for root, dirs, files in walk(*a, **k)))
    np.testing.assert_array_equal(load_folder(folder).rows, before)
    names = ["B.png", "a/c.png", "a/z.png", "a10.png", "a9.png", "b.png"]
    np.testing.assert_array_equal(before, np.stack([pixels(folder / name) for name in names]))


def test_subfolders_are_classes(folder: Path, save: Save) -> None:
    for name in ("dog/x/1.png", "cat/2.png", "cat/1.png", "emu/1.png"):
        save(name)
    (folder / "nothing").mkdir()
    (folder / ".git").mkdir()
    (folder / ".hidden.png").write_text("")
    loaded = load_folder(folder)
    assert loaded.class_names == ("cat", "dog", "emu")
    assert loaded.labels is not None
    assert loaded.labels.tolist() == [0, 0, 1, 2]


def test_numbers_as_class_names_are_ordered_as_numbers(folder: Path, save: Save) -> None:
    for name in ("10", "2", "1"):
        save(f"{name}/a.png")
    assert load_folder(folder).class_names == ("1", "2", "10")


def test_images_beside_subfolders_have_no_classes(folder: Path, save: Save) -> None:
    save("cat/1.png")
    save("1.png")
    loaded = load_folder(folder)
    assert loaded.labels is None
    assert "no classes" in loaded.notes[0]


def test_grey_only_if_all_are_grey(folder: Path, save: Save) -> None:
    save("1.png", mode="L")
    grey = pixels(save("2.png", mode="L"))
    Image.fromarray(np.repeat(grey, 3, axis=2)).save(folder / "2.png")
    loaded = load_folder(folder)
    assert loaded.rows.shape == (2, 6, 5, 1)
    np.testing.assert_array_equal(loaded.rows[1], grey)
    colour = pixels(save("3.png"))
    loaded = load_folder(folder)
    assert loaded.rows.shape == (3, 6, 5, 3)
    np.testing.assert_array_equal(loaded.rows[1], np.repeat(grey, 3, axis=2))
    np.testing.assert_array_equal(loaded.rows[2], colour)


# ------------------------------------------------------------------------------------------ conversion rules


def only(folder: Path) -> np.ndarray:
    return load_folder(folder).rows[0]


def test_alpha_is_composited_over_white(folder: Path) -> None:
    rgba = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 255, 51]]], np.uint8)
    Image.fromarray(rgba).save(folder / "a.png")
    expected = rgba[..., :3] * (rgba[..., 3:] / 255) + 255 * (1 - rgba[..., 3:] / 255)
    np.testing.assert_allclose(only(folder), expected, atol=1)


def test_grey_with_alpha_stays_grey(folder: Path) -> None:
    Image.fromarray(np.array([[[10, 255], [10, 0], [100, 51]]], np.uint8), "LA").save(folder / "a.png")
    assert only(folder).shape == (1, 3, 1)
    np.testing.assert_allclose(only(folder)[0, :, 0], [10, 255, 100 * 0.2 + 255 * 0.8], atol=1)


@pytest.mark.parametrize("transparent", [False, True])
def test_palette(folder: Path, transparent: bool) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    image.save(folder / "a.png", **({"transparency": 1} if transparent else {}))
    assert only(folder)[0].tolist() == [[10, 20, 30], [255, 255, 255] if transparent else [200, 100, 0]]


def test_cmyk(folder: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(folder / "a.jpg", quality=95)
    np.testing.assert_allclose(only(folder), np.broadcast_to([255, 0, 0], (16, 16, 3)), atol=4)


def test_bilevel_is_black_and_white(folder: Path) -> None:
    Image.fromarray(np.array([[True, False]])).save(folder / "a.png")
    assert only(folder).tolist() == [[[255], [0]]]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_is_scaled_not_clipped(folder: Path, suffix: str) -> None:
    levels = np.array([[0, 257, 300, 1000, 32_768, 65_535]], np.uint16)
    Image.fromarray(levels).save(folder / f"a.{suffix}")
    np.testing.assert_array_equal(only(folder)[..., 0], np.rint(levels / 257))


def test_32_bit_and_floating_point_are_refused(folder: Path, save: Save) -> None:
    for i in range(3):
        save(f"{i}.png")
    Image.fromarray(np.array([[0, 70_000]], np.int32)).save(folder / "int.tif")
    Image.fromarray(np.array([[0, 0.5]], np.float32)).save(folder / "float.tif")
    reasons = {skipped.path.name: skipped.reason for skipped in load_folder(folder, max_bad=2).skipped}
    assert "0 to 70000" in reasons["int.tif"]
    assert "floating-point" in reasons["float.tif"]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_exif_rotation_is_applied(folder: Path, turn: int, suffix: str) -> None:
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    # What a camera stores so that the orientation tag turns it upright (EXIF 2.3, table of tag 274).
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[turn]
    exif = Image.Exif()
    exif[274] = turn
    Image.fromarray(np.ascontiguousarray(stored)).save(folder / f"a.{suffix}", exif=exif)
    np.testing.assert_array_equal(only(folder)[..., 0], upright)


def test_of_an_animated_gif_the_first_frame_is_taken(folder: Path) -> None:
    frames = [Image.new("L", (4, 3), level) for level in (0, 128, 255)]
    frames[0].save(folder / "a.gif", save_all=True, append_images=frames[1:])
    assert only(folder).shape == (3, 4, 1)
    assert only(folder).max() == 0


# ------------------------------------------------------------------------------------------ sizes


def test_mixed_sizes_become_the_most_common_one(folder: Path, save: Save) -> None:
    for i, (height, width) in enumerate([(6, 5), (6, 5), (12, 10), (3, 2), (9, 9)]):
        save(f"{i}.png", height, width)
    loaded = load_folder(folder)
    assert loaded.rows.shape == (5, 6, 5, 3)
    np.testing.assert_array_equal(loaded.rows[0], pixels(folder / "0.png"))
    assert "3 of 5 images have another size" in loaded.notes[0]
    assert "6 x 5" in loaded.notes[0]
    assert loaded.notes[1].startswith("warning: 1 of them were enlarged")


def test_of_equally_common_sizes_the_smallest_is_taken(folder: Path, save: Save) -> None:
    for height in (30, 8, 20):
        save(f"{height}.png", height, 10)
    assert load_folder(folder).rows.shape == (3, 8, 10, 3)


def test_fitting_keeps_the_middle(folder: Path) -> None:
    wide = np.zeros((8, 32), np.uint8)
    wide[:, 8:24] = 200  # the centred square and what a cubic filter sees of its surroundings
    Image.fromarray(wide).save(folder / "a.png")
    images = load_folder(folder, size=(4, 4)).rows
    assert images.shape == (1, 4, 4, 1)
    np.testing.assert_allclose(images, 200, atol=1)


def test_shrinking_is_antialiased(folder: Path) -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(folder / "a.png")
    # Far from the edges every output pixel averages a checkerboard: 127.5, where picking pixels would give 0 or 255.
    np.testing.assert_allclose(load_folder(folder, size=(8, 8)).rows[0, 2:-2, 2:-2], 127.5, atol=4)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 10_000), (10_000, 1)])
def test_1x1_and_10000x1_are_fitted_with_a_warning(folder: Path, save: Save, height: int, width: int) -> None:
    save("a.png", height, width)
    loaded = load_folder(folder, size=(7, 5))
    assert loaded.rows.shape == (1, 7, 5, 3)
    assert any("enlarged" in note for note in loaded.notes)


def test_arrays_are_resized_like_pictures(folder: Path, save: Save) -> None:
    paths = [save(f"{i}.png", 12, 20) for i in range(2)]
    expected = load_folder(folder, size=(6, 5)).rows
    np.testing.assert_array_equal(resize(np.stack([pixels(path) for path in paths]), 6, 5, "key"), expected)
