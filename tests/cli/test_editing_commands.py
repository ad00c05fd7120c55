"""`gendi inpaint`, `upscale`, `denoise`, `vary`, `interpolate` and `mix`: what they write, and what they refuse."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Gendi
from gendi.train.kept.bundle import load_bundle, save_bundle

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
    """Return the pictures of a grid of one row, (N, 8, 8), without the captions below them."""
    sheet = np.asarray(Image.open(path))[2:CELL:4, 2:]
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
        ("inpaint --mask {mask} --condition class=1 --guidance 3 --guidance-interval 0.3 2", 2, 2),
        ("inpaint --mask {mask} --class 0,1 --guidance 2 --bad-model {run}", 2, 2),
        ("vary --class 1 --guidance 2 --negative 0 --guidance-rescale 0.7", 1, 2),
        ("denoise --noise 0.3 --class 1 --guidance 2", 1, 3),
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
    name, *flags = command.format(mask=mask, run=tiny_run).split()
    common = ["--n", "2", "--steps", "3", "--out", str(out), "--json"]
    done = gendi(name, str(tiny_run), picture, *flags, *common)
    assert done.code == 0, done.err
    shown = cells(out)
    assert shown.shape == (given + results, 8, 8)
    np.testing.assert_array_equal(shown[0], np.asarray(Image.open(picture)))
    said = json.loads(done.out)
    assert said["out"] == str(out) and said["shape"] == [results, 1, 8, 8]
    assert settings(out)["command"] == name and settings(out)["sha256"] == said["settings"]["sha256"]
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


def test_a_model_that_is_given_the_small_picture(gendi: Gendi, tiny_data: Path, tmp_path: Path) -> None:
    from tiny import TINY

    run, small = tmp_path / "sr", save(tmp_path / "small.png", np.arange(16).reshape(4, 4) * 16)
    flags = [*TINY[: TINY.index("--condition")], *TINY[TINY.index("--condition") + 2 :]]
    trained = gendi("train", str(tiny_data), *flags, "--condition", "low-res:2", "--steps", "2", "--out", str(run))
    assert trained.code == 0, trained.err
    out = tmp_path / "large.png"
    done = gendi("upscale", str(run), small, "--n", "2", "--steps", "3", "--out", str(out))
    assert done.code == 0 and settings(out)["method"] == "conditional", done.err
    old = gendi("upscale", str(run), small, "--n", "2", "--steps", "3", "--out", str(out), "--method", "told")
    assert old.code == 0 and settings(out)["method"] == "conditional", old.err
    again = gendi("upscale", "--again", str(out))
    assert again.code == 0 and settings(tmp_path / "large-again.png")["method"] == "conditional", again.err
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
    from gendi.data.images.pixels import decode

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
        ("upscale {run} {picture}", 2, "is not 2, 3 or more times as large"),
        ("upscale {run} {small} --method conditional", 2, "low-res:2"),
        ("upscale {run} {small} --method repaint", 2, "conditional"),
        ("vary {run} {picture} --strength 1.1", 2, "between 0 and 1"),
        ("vary {run} {picture} --strength nan", 2, "between 0 and 1"),
        ("vary {run} {picture} --class 2", 2, "the classes 0 to 1"),
        ("vary {run} {picture} --guidance 2", 2, "needs a condition"),
        ("vary {run} {picture} --class 1 --guidance nan", 2, "scale nan is out of range"),
        ("vary {run} {picture} --negative 0", 2, "needs --guidance"),
        ("vary {run} {picture} --condition dose=1", 2, "no condition named 'dose'"),
        ("vary {run} {picture} --condition class", 2, "NAME=VALUE"),
        ("vary {run} {picture} --class 1 --condition class=0", 2, "given twice"),
        ("vary {run} {picture} --class 1 --guidance 2 --bad-model nowhere", 2, "no folder nowhere"),
        ("denoise {run} {picture} --class 0,1", 2, "room for one"),
        ("mix {run} {picture} {picture} --class 0,1", 2, "room for one"),
        ("interpolate {run} {picture} {picture} --class 0,1", 2, "room for one"),
        ("vary --again nowhere.png", 3, "There is no file nowhere.png"),
        ("vary --again {picture}", 3, "does not say how it was made"),
        ("vary --again {text}", 3, "could not be read as a picture"),
        ("vary --again {run}", 3, "holds no PNG"),
        ("vary --again {picture} --n 3", 2, "only --out, --batch-size and --json"),
        ("vary {run} --again {picture}", 2, "only --out, --batch-size and --json"),
        ("vary --again", 2, "--again"),
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


@pytest.mark.parametrize(
    "line",
    [
        "vary {run} {picture} --n 2 --steps 3 --seed 5 --class 0,1 --guidance 2",
        "inpaint {run} {picture} --mask {mask} --n 2 --steps 3 --batch-size 1 --json",
        "mix {run} {picture} {other} --weight 0.2 --steps 3",
    ],
)
def test_an_edit_is_made_again(
    gendi: Gendi, tiny_run: Path, tmp_path: Path, picture: str, other: str, mask: str, line: str
) -> None:
    """The same file, byte for byte, beside the first one; and from it once more."""
    words = line.format(run=tiny_run, picture=picture, other=other, mask=mask).split()
    first = gendi(*words, "--out", str(tmp_path / "x.png"))
    again = gendi(words[0], "--again", str(tmp_path / "x.png"))
    assert first.code == again.code == 0 and "note:" not in again.err, again.err
    assert again.out == f"{tmp_path / 'x-again.png'}\n"
    third = gendi(words[0], f"--again={tmp_path / 'x-again.png'}", "--out", str(tmp_path / "third.png"), "--json")
    assert third.code == 0 and json.loads(third.out)["out"] == str(tmp_path / "third.png")
    assert len({(tmp_path / name).read_bytes() for name in ("x.png", "x-again.png", "third.png")}) == 1


def test_again_says_what_is_another_now(gendi: Gendi, tiny_run: Path, tmp_path: Path, picture: str, other: str) -> None:
    """A picture and the weights of two models; of a folder of results too."""
    run, bad, out = tmp_path / "run", tmp_path / "bad", tmp_path / "varied"
    for folder in (run, bad):
        save_bundle(folder, load_bundle(tiny_run))
    flags = ["--class", "1", "--guidance", "2", "--bad-model", str(bad), "--n", "2", "--steps", "2"]
    assert gendi("vary", str(run), picture, *flags, "--out", str(out)).code == 0
    same = gendi("vary", "--again", str(out), "--batch-size", "1")
    assert same.code == 0 and "note:" not in same.err, same.err
    assert sorted(p.name for p in (tmp_path / "varied-again").iterdir()) == ["00000.png", "00001.png"]
    for place in (run, bad):
        bundle = load_bundle(place)
        shutil.rmtree(place)
        save_bundle(place, dataclasses.replace(bundle, state={name: w + 0.1 for name, w in bundle.state.items()}))
    shutil.copy(other, picture)
    changed = gendi("vary", "--again", str(out), "--out", str(tmp_path / "y.png"))
    assert changed.code == 0 and changed.err.count("note:") == 3, changed.err
    assert all(f"note: {place} is not what {out} was made with" in changed.err for place in (run, bad, picture))


def test_again_of_another_command_says_which(gendi: Gendi, tiny_run: Path, tmp_path: Path, picture: str) -> None:
    varied, sampled = tmp_path / "x.png", tmp_path / "y.png"
    assert gendi("vary", str(tiny_run), picture, "--n", "1", "--steps", "2", "--out", str(varied)).code == 0
    assert gendi("sample", str(tiny_run), "--n", "1", "--steps", "2", "--out", str(sampled)).code == 0
    for command, path, right in (("denoise", varied, "vary"), ("sample", varied, "vary"), ("vary", sampled, "sample")):
        outcome = gendi(command, "--again", str(path))
        assert outcome.code == 2 and f"gendi {right} --again {path}" in outcome.err, outcome.err


@pytest.mark.parametrize("words", [None, "vary", [1], {"a": "b"}])
def test_settings_that_were_changed_are_refused(gendi: Gendi, tmp_path: Path, words: object) -> None:
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("gendi-edit", json.dumps({"command": "vary", "words": words, "sha256": {}}))
    Image.new("L", (8, 8)).save(tmp_path / "x.png", pnginfo=text)
    outcome = gendi("vary", "--again", str(tmp_path / "x.png"))
    assert outcome.code == 3 and "instead of --again" in outcome.err, outcome.err


def test_a_picture_is_told_its_classes_in_turn(gendi: Gendi, tiny_run: Path, tmp_path: Path, picture: str) -> None:
    """Result i is the one that is told class i alone."""
    flags = ["--n", "2", "--steps", "3", "--out", str(tmp_path / "x.png")]
    shown = {}
    for classes in ("0,1", "0", "1"):
        assert gendi("vary", str(tiny_run), picture, "--class", classes, *flags).code == 0
        shown[classes] = cells(tmp_path / "x.png")[1:]
    np.testing.assert_array_equal(shown["0,1"], np.stack([shown["0"][0], shown["1"][1]]))


def test_a_model_that_was_never_without_its_class_wants_it(
    gendi: Gendi, tiny_run: Path, tmp_path: Path, picture: str
) -> None:
    bundle = load_bundle(tiny_run)
    always = tuple(dataclasses.replace(spec, dropout=0.0) for spec in bundle.config.conditions)
    config = dataclasses.replace(bundle.config, conditions=always)
    save_bundle(tmp_path / "always", dataclasses.replace(bundle, config=config))
    flags = ["--n", "1", "--steps", "2", "--out", str(tmp_path / "x.png")]
    refused = gendi("vary", str(tmp_path / "always"), picture, *flags)
    assert refused.code == 2 and "never trained without its class" in refused.err, refused.err
    assert gendi("vary", str(tmp_path / "always"), picture, "--class", "1", *flags).code == 0
