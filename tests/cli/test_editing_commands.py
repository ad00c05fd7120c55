"""`gendi inpaint`, `upscale`, `denoise`, `vary`, `interpolate` and `mix`: what they write, and what they refuse."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Gendi

CELL = 8 * 4 + 2
"""Pixels of a grid's cell: 8, enlarged 4 times, and a gap of 2."""


def save(path: Path, pixels: np.ndarray) -> str:
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return str(path)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    return save(tmp_path / "picture.png", np.random.default_rng(1).integers(0, 256, (8, 8)))


@pytest.fixture
def other(tmp_path: Path) -> str:
    return save(tmp_path / "other.png", np.random.default_rng(2).integers(0, 256, (8, 8)))


@pytest.fixture
def mask(tmp_path: Path) -> str:
    """White below, where it is to be painted."""
    return save(tmp_path / "mask.png", np.repeat([0, 255], 4)[:, None].repeat(8, 1))


def cells(path: Path) -> np.ndarray:
    """Return the pictures of a grid of one row, (N, 8, 8)."""
    sheet = np.asarray(Image.open(path))[2:-2:4, 2:]
    return np.stack([sheet[:, k : k + CELL - 2 : 4] for k in range(0, sheet.shape[1] - 1, CELL)])


def settings(path: Path) -> dict[str, object]:
    with Image.open(path) as image:
        image.load()
        found: dict[str, object] = json.loads(image.info["gendi-edit"])
    return found


@pytest.mark.parametrize(
    ("command", "given", "results"),
    [
        ("inpaint --mask {mask}", 2, 2),
        ("inpaint --mask {mask} --method dps --zeta 0.1", 2, 2),
        ("inpaint --mask {mask} --method pigdm --std 0.1 --class 1 --guidance 2", 2, 2),
        ("inpaint --mask {mask} --method repaint --resamplings 2", 2, 2),
        ("vary --strength 0.5", 1, 2),
        ("vary --strength 1 --class 0 --sampler ddim", 1, 2),
        ("denoise", 1, 3),
        ("denoise --noise 0.3 --seed 4", 1, 3),
    ],
)
def test_a_grid_with_the_picture_beside_the_results(
    gendi: Gendi, tiny_run: Path, tmp_path: Path, picture: str, mask: str, command: str, given: int, results: int
) -> None:
    out = tmp_path / "out.png"
    name, *flags = command.format(mask=mask).split()
    common = ["--n", "2", "--steps", "3", "--out", str(out), "--json"]
    done = gendi(name, str(tiny_run), picture, *flags, *common)
    assert done.code == 0, done.err
    shown = cells(out)
    assert shown.shape == (given + results, 8, 8)
    np.testing.assert_array_equal(shown[0], np.asarray(Image.open(picture)))
    said = json.loads(done.out)
    assert said["out"] == str(out) and said["shape"] == [results, 1, 8, 8]
    assert settings(out)["command"] == name and settings(out)["weights"] == said["settings"]["weights"]
    if name == "inpaint":  # what is black in the mask stays, to the byte
        np.testing.assert_array_equal(shown[2:, :4], np.stack([shown[0, :4]] * 2))
    again = gendi(name, str(tiny_run), picture, *flags, *common, "--batch-size", "1")
    assert again.code == 0 and np.abs(cells(out).astype(int) - shown).max() <= 1


def test_a_strength_of_0_is_the_picture_and_a_folder_holds_a_file_each(
    gendi: Gendi, tiny_run: Path, tmp_path: Path, picture: str
) -> None:
    out = tmp_path / "varied"
    done = gendi("vary", str(tiny_run), picture, "--strength", "0", "--n", "3", "--out", str(out))
    assert done.code == 0, done.err
    assert [path.name for path in sorted(out.iterdir())] == ["00000.png", "00001.png", "00002.png"]
    for path in out.iterdir():
        np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(picture)))


def test_upscaling(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    """The factor is the picture's own if none is given."""
    small = save(tmp_path / "small.png", np.arange(16).reshape(4, 4) * 16)
    for flags in ([], ["--factor", "2"], ["--method", "dps"]):
        out = tmp_path / "large.png"
        done = gendi("upscale", str(tiny_run), small, *flags, "--n", "2", "--steps", "3", "--out", str(out))
        assert done.code == 0, done.err
        shown = cells(out)
        assert shown.shape == (3, 8, 8) and settings(out)["factor"] == 2
        np.testing.assert_array_equal(shown[0, ::2, ::2], np.asarray(Image.open(small)))


def test_a_model_that_is_told_the_small_picture(gendi: Gendi, tiny_data: Path, tmp_path: Path) -> None:
    from tiny import TINY

    run, small = tmp_path / "sr", save(tmp_path / "small.png", np.arange(16).reshape(4, 4) * 16)
    flags = [*TINY[: TINY.index("--condition")], *TINY[TINY.index("--condition") + 2 :]]
    trained = gendi("train", str(tiny_data), *flags, "--condition", "low-res:2", "--steps", "2", "--out", str(run))
    assert trained.code == 0, trained.err
    out = tmp_path / "large.png"
    done = gendi("upscale", str(run), small, "--n", "2", "--steps", "3", "--out", str(out))
    assert done.code == 0 and settings(out)["method"] == "told", done.err
    other = gendi("upscale", str(run), small, "--n", "2", "--steps", "3", "--out", str(out), "--method", "mmps")
    assert other.code == 0 and settings(out)["method"] == "mmps", other.err


def test_from_one_picture_to_another(gendi: Gendi, tiny_run: Path, tmp_path: Path, picture: str, other: str) -> None:
    out = tmp_path / "out.png"
    done = gendi("interpolate", str(tiny_run), picture, other, "--n", "3", "--steps", "4", "--out", str(out))
    assert done.code == 0 and cells(out).shape == (3, 8, 8), done.err
    done = gendi("mix", str(tiny_run), picture, other, "--weight", "0.3", "--steps", "4", "--out", str(out))
    assert done.code == 0 and cells(out).shape == (3, 8, 8), done.err
    assert settings(out)["weight"] == settings(out)["detail"] == 0.3


def test_colour_becomes_grey_as_in_a_folder_of_data(gendi: Gendi, tiny_run: Path, tmp_path: Path) -> None:
    from gendi.data.pixels import decode

    path = save(tmp_path / "colour.png", np.random.default_rng(3).integers(0, 256, (8, 8, 3)))
    out = tmp_path / "out.png"
    done = gendi("vary", str(tiny_run), path, "--n", "1", "--steps", "2", "--out", str(out))
    assert done.code == 0, done.err
    np.testing.assert_array_equal(cells(out)[0], decode(Path(path), 8, 8, grey=True)[..., 0])


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("inpaint {run} {picture}", 2, "--mask is missing"),
        ("inpaint {run} {picture} --mask {small}", 2, "small.png is 4 x 4 pixels"),
        ("inpaint {run} {picture} --mask {black}", 2, "no white pixel"),
        ("inpaint {run} {picture} --mask {white}", 2, "all white"),
        ("inpaint {run} {picture} --mask {mask} --method mmp", 2, "mmps"),
        ("inpaint {run} {picture} --mask {mask} --method dps --std 0.1", 2, "--std is no option"),
        ("inpaint {run} {picture} --mask {mask} --method mmps --std 0", 2, "above 0"),
        ("inpaint {run} {picture} --mask {mask} --method repaint --sampler ddim", 2, "has its own step"),
        ("inpaint {run} {picture} --mask {mask} --steps 11", 2, "chain of 10"),
        ("inpaint {run} {small} --mask {mask}", 2, "the model's pictures are 8 x 8"),
        ("inpaint {run} {text} --mask {mask}", 3, "could not be read as a picture"),
        ("inpaint {run} nowhere.png --mask {mask}", 3, "There is no picture nowhere.png"),
        ("upscale {run} {small} --factor 3", 2, "divide the model's 8 x 8"),
        ("upscale {run} {small} --factor 4", 2, "it must be 2 x 2"),
        ("upscale {run} {picture}", 2, "is no multiple"),
        ("upscale {run} {small} --method told", 2, "low-res:2"),
        ("upscale {run} {small} --method repaint", 2, "told"),
        ("vary {run} {picture} --strength 1.1", 2, "between 0 and 1"),
        ("vary {run} {picture} --strength nan", 2, "between 0 and 1"),
        ("vary {run} {picture} --class 2", 2, "the classes 0 to 1"),
        ("vary {run} {picture} --guidance 2", 2, "--class"),
        ("vary {run} {picture} --class 1 --guidance nan", 2, "--guidance nan"),
        ("vary {run} {picture} --sampler heum", 2, "heun"),
        ("vary {run} {picture} --out x.jpg", 2, "NAME.png"),
        ("vary {run} {picture} --out {run}/bundle/x.png", 2, "inside the bundle"),
        ("denoise {run} {picture} --noise 0", 2, "between 0.001"),
        ("interpolate {run} {picture} {picture} --n 1", 2, "2 or more"),
        ("interpolate {run} {picture}", 2, "missing"),
        ("mix {run} {picture} {picture} --weight -1", 2, "between 0 and 1"),
        ("mix {run} {picture} {small}", 2, "4 x 4"),
        ("mix {run} {picture} {picture} --level 0", 2, "between 0.01 and 1"),
    ],
)
def test_what_cannot_be_is_refused(
    gendi: Gendi, tiny_run: Path, tmp_path: Path, picture: str, mask: str, line: str, code: int, said: str
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    names = {
        "run": str(tiny_run),
        "picture": picture,
        "mask": mask,
        "small": save(tmp_path / "small.png", np.zeros((4, 4))),
        "black": save(tmp_path / "black.png", np.zeros((8, 8))),
        "white": save(tmp_path / "white.png", np.full((8, 8), 255)),
        "text": str(tmp_path / "text.png"),
    }
    outcome = gendi(*(word.format(**names) for word in line.split()))
    assert outcome.code == code and said in outcome.err and "bug" not in outcome.err, outcome.err
