"""`gendi sample` with conditions and guidance: what is drawn, what is remembered, what is refused."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TINY

import gendi as library
import gendi.errors
from gendi.api import models
from gendi.api.guidance import Guidance
from gendi.api.models import Models
from gendi.api.prepared import prepare
from gendi.api.request import Request, read_request
from gendi.cli import main
from gendi.data.images.sample_files import read_samples
from gendi.diffusion.config import ConditionConfig
from gendi.train.kept.bundle import load_bundle, save_bundle

Gendi = Callable[..., Any]
BASE = "--steps 4 --seed 3 --n 4"


@pytest.fixture(scope="module")
def able_run(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with weights drawn anew: one whose last convolution is no longer nearly zero answers its classes."""
    folder = tmp_path_factory.mktemp("able") / "bundle"
    bundle, generator = load_bundle(tiny_run), torch.Generator().manual_seed(0)
    state = {name: torch.randn(w.shape, generator=generator) * 0.2 for name, w in bundle.state.items()}
    return save_bundle(folder, dataclasses.replace(bundle, state=state))


@pytest.fixture(scope="module")
def plain_run(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "plain"
    flags = [word if word != "class" else "none" for word in TINY]
    assert main(["train", str(tiny_data), *flags, "--steps", "2", "--out", str(run)]) == 0
    return run


def drawn(gendi: Gendi, out: Path, run: Path, flags: str) -> np.ndarray:
    outcome = gendi(f"sample {run} {BASE} {flags} --out {out}")
    assert outcome.code == 0, outcome.err
    return read_samples(out)


def refused(gendi: Gendi, words: str, *said: str) -> None:
    outcome = gendi(words)
    assert (outcome.code, outcome.out) == (2, "")
    assert all(text in outcome.err for text in said), outcome.err
    assert "Traceback" not in outcome.err


def test_the_scale_changes_samples_and_one_is_none(gendi: Gendi, able_run: Path, tmp_path: Path) -> None:
    plain = drawn(gendi, tmp_path / "plain.npz", able_run, "--class 1")
    images = {w: drawn(gendi, tmp_path / f"{w}.npz", able_run, f"--class 1 --guidance {w}") for w in (0, 1, 2, 4)}
    np.testing.assert_array_equal(images[1], plain)
    np.testing.assert_array_equal(images[0], drawn(gendi, tmp_path / "null.npz", able_run, "--class none"))
    assert all((images[a] != images[b]).any() for a, b in ((0, 1), (1, 2), (2, 4)))


@pytest.mark.parametrize(
    "flags",
    [
        "--guidance 2",
        "--guidance 2 --guidance-interval 0.3 2",
        "--guidance 3 --guidance-rescale 0.7 --guidance-threshold 0.9",
        "--guidance 2 --negative 0",
        "--guidance class=2",
        "--guidance class=2 --guidance-nested",
        "--guidance 2 --bad-model {run}",
    ],
)
def test_every_rule_is_remembered_and_drawn_again(gendi: Gendi, able_run: Path, tmp_path: Path, flags: str) -> None:
    grid = tmp_path / "grid.png"
    drawn(gendi, grid, able_run, "--class 1 " + flags.format(run=able_run))
    assert gendi(f"sample --again {grid}").code == 0
    assert (tmp_path / "grid-again.png").read_bytes() == grid.read_bytes()
    settings = read_request(grid)
    assert settings.to_dict()["condition"] == {"class": "1"}
    assert settings.guidance


def test_again_says_which_guiding_model_is_another_now(
    gendi: Gendi, able_run: Path, plain_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """The bad model's or the classifier's weights, by their folder; and nothing where all are what they were."""
    bad, judge = tmp_path / "bad", tmp_path / "judge"
    train = f"train-classifier {tiny_data} --run {plain_run} --widths 8 --batch-size 4 --out {judge} --steps"
    shutil.copytree(able_run, bad)
    assert gendi(f"{train} 1").code == 0
    for folder, flags in ((bad, "--guidance 2 --bad-model"), (judge, "--class 1 --guidance 2 --classifier")):
        grid = tmp_path / f"{folder.name}.png"
        drawn(gendi, grid, able_run, f"{flags} {folder}")
        assert "note:" not in gendi(f"sample --again {grid}").err
    bundle = load_bundle(bad)
    shutil.rmtree(bad)
    save_bundle(bad, dataclasses.replace(bundle, state={name: w + 0.1 for name, w in bundle.state.items()}))
    assert gendi(f"{train} 2").code == 0
    for folder in (bad, judge):
        again = gendi(f"sample --again {tmp_path / folder.name}.png")
        said = f"note: the weights in {folder} are not those that {tmp_path / folder.name}.png was drawn with"
        assert again.code == 0 and said in again.err and again.err.count("note:") == 1, again.err


def test_rules_differ_from_each_other(gendi: Gendi, able_run: Path, tmp_path: Path) -> None:
    flags = ["", "--guidance 3", "--guidance 3 --guidance-interval 0.3 2", "--guidance 3 --guidance-rescale 0.7"]
    flags += ["--guidance 3 --negative 0", "--guidance 99", "--guidance 99 --guidance-threshold 0.5"]
    images = [drawn(gendi, tmp_path / f"{i}.npz", able_run, f"--class 1 {f}").tobytes() for i, f in enumerate(flags)]
    assert len(set(images)) == len(flags)


def test_a_model_led_away_from_itself_stays(gendi: Gendi, able_run: Path, plain_run: Path, tmp_path: Path) -> None:
    """x + w (x - x) = x, for conditional models and unconditional ones."""
    for run in (able_run, plain_run):
        plain = drawn(gendi, tmp_path / "plain.npz", run, "")
        same = drawn(gendi, tmp_path / "same.npz", run, f"--guidance 2 --bad-model {run}")
        assert np.abs(same.astype(int) - plain.astype(int)).max() <= 1


def test_classes_in_turn_and_in_blocks(gendi: Gendi, able_run: Path, tmp_path: Path) -> None:
    zero, one = (drawn(gendi, tmp_path / f"{c}.npz", able_run, f"--class {c}") for c in (0, 1))
    turn = drawn(gendi, tmp_path / "turn.npz", able_run, "--class 1,0")
    np.testing.assert_array_equal(turn, np.stack([one[0], zero[1], one[2], zero[3]]))
    assert gendi(f"sample {able_run} --steps 4 --seed 3 --class 0,1 --per-class 2 --out {tmp_path}/blocks").code == 0
    blocks = read_samples(tmp_path / "blocks")
    np.testing.assert_array_equal(blocks, np.stack([zero[0], zero[1], one[2], one[3]]))
    assert gendi(f"sample --again {tmp_path}/blocks/00003.png --out {tmp_path}/one.npz").code == 0
    assert np.abs(read_samples(tmp_path / "one.npz")[0].astype(int) - one[3].astype(int)).max() <= 1


def test_a_condition_by_name_is_the_class_flag(gendi: Gendi, able_run: Path, tmp_path: Path) -> None:
    a = drawn(gendi, tmp_path / "a.npz", able_run, "--class 1 --guidance 2")
    b = drawn(gendi, tmp_path / "b.npz", able_run, "--condition class=1 --guidance 2")
    np.testing.assert_array_equal(a, b)


def test_from_python(able_run: Path) -> None:
    bundle = load_bundle(able_run)
    about: dict[str, Any] = {"steps": 4, "seed": 3}
    plain = library.sample(bundle, 4, condition={"class": 1}, **about)
    np.testing.assert_array_equal(library.sample(bundle, 4, condition={"class": 1}, guidance=1.0, **about), plain)
    two = library.sample(bundle, 4, condition={"class": 1}, guidance=2.0, **about)
    np.testing.assert_array_equal(
        library.sample(bundle, 4, condition={"class": 1}, guidance=Guidance(lambda t: 2.0), **about), two
    )
    assert (two != plain).any()
    away = Guidance(2.0, negative={"class": "0"})
    assert (library.sample(bundle, 4, condition={"class": 1}, guidance=away, **about) != two).any()
    names = library.sample(bundle, 4, guidance=2.0, **about)  # classes in turn, guided
    turn = library.sample(bundle, 4, condition={"class": [0, 1, 0, 1]}, guidance=2.0, **about)
    np.testing.assert_array_equal(names, turn)


def test_clipping_comes_after_guidance(able_run: Path) -> None:
    bundle = load_bundle(able_run)
    config = dataclasses.replace(bundle.config, sample=dataclasses.replace(bundle.config.sample, clip=True))
    bundle = dataclasses.replace(bundle, config=config)
    about: dict[str, Any] = {"steps": 4, "seed": 3, "condition": {"class": 1}}
    plain = library.sample(bundle, 4, **about)
    np.testing.assert_array_equal(library.sample(bundle, 4, guidance=1.0, **about), plain)
    ready = prepare(Request.of(bundle, 4, {"steps": 4}, condition={"class": 1}, guidance=9.0), Models.read(bundle))
    x_0 = ready.denoiser(torch.randn(4, *bundle.codec.shape), torch.tensor(0.5), **ready.cond)
    assert x_0.abs().max() == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--class 1 --guidance nan", "scale nan is out of range"),
        ("--class 1 --guidance inf", "scale inf is out of range"),
        ("--class 1 --guidance=-1", "0 or more"),
        ("--class 1 --guidance much", "neither a number"),
        ("--class 1 --guidance class=x", "neither a number"),
        ("--class 1 --guidance size=2", "There is no condition named 'size'"),
        ("--class 1 --guidance 2 --guidance-interval 2 1", "empty"),
        ("--class 1 --guidance 2 --guidance-rescale 2", "between 0 and 1"),
        ("--class 1 --guidance 2 --guidance-threshold 0", "above 0"),
        ("--class 1 --guidance 2 --negative 7", "classes 0 to 1"),
        ("--class 1 --guidance 2 --negative 0,1", "room for one"),
        ("--class 1 --guidance class=2 --negative 0", "choose one"),
        ("--class 1 --guidance 2 --bad-model nowhere", "no folder nowhere"),
        ("--class 1 --guidance 2 --classifier nowhere", "train-classifier"),
        ("--class 1 --negative 0", "needs --guidance"),
        ("--class none --guidance 2", "needs a condition"),
        ("--class 7", "classes 0 to 1"),
        ("--class 1,seven", "Known: 0, 1"),
        ("--condition class", "NAME=VALUE"),
        ("--condition dose=1", "There is no condition named 'dose'"),
        ("--class 1 --condition class=0", "given twice"),
        ("--class 1 --per-class 2", "both say how many samples to draw"),
    ],
)
def test_what_cannot_be_is_refused(gendi: Gendi, able_run: Path, flags: str, said: str) -> None:
    refused(gendi, f"sample {able_run} {BASE} {flags}", said)


def test_an_unconditional_model_is_not_guided(gendi: Gendi, plain_run: Path, able_run: Path) -> None:
    refused(gendi, f"sample {plain_run} {BASE} --guidance 2", "without conditions", "train-classifier")
    refused(gendi, f"sample {plain_run} {BASE} --class 1", "without conditions")
    refused(gendi, f"sample {able_run} {BASE} --guidance 2 --bad-model {plain_run}", "must know the same")


def test_with_again_nothing_else_is_asked_for(gendi: Gendi, able_run: Path, tmp_path: Path) -> None:
    drawn(gendi, tmp_path / "x.png", able_run, "--class 1 --guidance 2")
    for flag in ("--guidance 3", "--guidance-rescale 0", "--negative 0", "--condition class=1", "--seed 0"):
        refused(gendi, f"sample --again {tmp_path}/x.png {flag}", flag.split()[0])


def test_a_condition_that_was_never_dropped_cannot_be_guided_by(able_run: Path) -> None:
    bundle = load_bundle(able_run)
    always = tuple(dataclasses.replace(spec, dropout=0.0) for spec in bundle.config.conditions)
    bundle = dataclasses.replace(bundle, config=dataclasses.replace(bundle.config, conditions=always))
    with pytest.raises(library.errors.UsageError, match="dropout 0"):
        library.sample(bundle, 2, steps=2, guidance=2.0)
    assert len(library.sample(bundle, 2, steps=2, guidance=Guidance(2.0, negative={"class": 0}))) == 2


def test_words_become_values() -> None:
    from gendi.api.conditions import _read

    names = ("a,b", "none", "c")
    assert _read(ConditionConfig("class", "class", 3, names=names), "a,b") == ("a,b",)
    assert _read(ConditionConfig("class", "class", 3, names=names), "none") == ("none",)
    assert _read(ConditionConfig("class", "class", 3), "none") is None
    assert _read(ConditionConfig("dose", "value", 1), "0.5,1") == (0.5, 1.0)
    assert _read(ConditionConfig("tags", "tags", 3, names=("x", "y", "z")), "x,z") == ["x", "z"]
    assert _read(ConditionConfig("place", "vector", 2), "0.1,-2") == [0.1, -2.0]


def test_a_picture_as_condition(tmp_path: Path) -> None:
    from PIL import Image

    from gendi.api.conditions import _read
    from gendi.errors import DataError

    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    np.testing.assert_array_equal(_read(ConditionConfig("face", "image", 3), str(tmp_path / "x.png")), pixels)
    assert _read(ConditionConfig("face", "image", 1), str(tmp_path / "x.png")).shape == (5, 4, 1)
    shutil.copy(__file__, tmp_path / "y.png")
    with pytest.raises(DataError, match="could not be read as a picture"):
        _read(ConditionConfig("face", "image", 3), str(tmp_path / "y.png"))


def test_a_classifier_is_trained_and_leads_an_unconditional_run(
    gendi: Gendi, plain_run: Path, able_run: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, grid = tmp_path / "judge", tmp_path / "x.png"
    train = f"train-classifier {tiny_data} --run {plain_run} --steps 2 --widths 8 --batch-size 4 --out {folder}"
    outcome = gendi(train)
    assert outcome.code == 0, outcome.err
    assert str(folder) in outcome.out and "--classifier" in outcome.err
    read: list[str] = []
    load = models.load_classifier
    monkeypatch.setattr(models, "load_classifier", lambda path: (read.append(str(path)), load(path))[1])
    drawn(gendi, grid, plain_run, f"--class 1 --guidance 2 --classifier {folder}")
    assert read == [str(folder)]  # once, for its classes and for its gradient
    assert gendi(f"sample --again {grid}").code == 0
    assert (tmp_path / "x-again.png").read_bytes() == grid.read_bytes()
    drawn(gendi, tmp_path / "y.npz", able_run, f"--class 1 --guidance 2 --classifier {folder}")
    refused(gendi, f"sample {plain_run} {BASE} --class 7 --guidance 2 --classifier {folder}", "classes 0 to 1")
    refused(gendi, f"sample {plain_run} {BASE} --guidance 2 --classifier {plain_run}", "train-classifier")
    refused(gendi, f"{train} --lr 0", "lr = 0")
    refused(gendi, f"train-classifier {tiny_data} --run {plain_run} --out {plain_run}/bundle/x", "sealed")
    refused(gendi, f"train-classifier {tiny_data} --run {plain_run} --out {tmp_path}", "something else")
    refused(gendi, f"train-classifier {tiny_data} --run {plain_run} --steps 1 --images 1", "exactly one budget")
    refused(gendi, f"train-classifier {tiny_data} --run {plain_run} --steps 1 --widths 7", "widths")
    refused(gendi, f"train-classifier {tiny_data}", "--run is missing")
    refused(gendi, "train-classifier", "DATA is missing")
