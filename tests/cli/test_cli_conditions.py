"""Conditions, flips and crops on the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny import TINY

from gendi.storage.toml import read_toml

Gendi = Any


@pytest.fixture
def rich(tmp_path: Path) -> str:
    rng, n = np.random.default_rng(0), 16
    np.savez(
        tmp_path / "rich.npz",
        images=rng.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8),
        labels=np.arange(n) % 2,
        kind=np.array(["cat", "dog", "emu", ""])[np.arange(n) % 4],
        dose=np.full(n, 2.5),
        wears=np.eye(2, dtype=bool)[np.arange(n) % 2],
        odd=np.zeros(3),
    )
    return str(tmp_path / "rich.npz")


def test_check_shows_what_there_is(gendi: Gendi, rich: str) -> None:
    said = gendi("data", "check", rich).out
    for line in (
        "class  class  2 classes",
        "kind   class  3 classes",
        "dose   value  2.5 to 2.5",
        "wears  tags   2 tags",
    ):
        assert line in said
    assert "no condition is made of odd: it has 3 rows for 16 images" in said
    found = {c["name"]: c for c in json.loads(gendi("data", "check", rich, "--json").out)["conditions"]}
    assert set(found) == {"class", "kind", "dose", "wears"}
    assert set(found["kind"]["counts"]) == {"cat", "dog", "emu"} and found["kind"]["missing"] > 0


def test_two_conditions_flips_and_crops_train(gendi: Gendi, rich: str, tmp_path: Path) -> None:
    flags = [word for word in TINY if word not in ("--condition", "class")]
    told = ["--condition", "class", "kind", "--condition-dropout", "0.2", "0.3", "--flip", "--crop", "1.2"]
    run = tmp_path / "run"
    assert gendi("train", rich, *flags, *told, "--steps", "3", "--out", str(run)).code == 0
    config = read_toml(run / "config.toml")["config"]
    assert [(c["name"], c["dropout"], c["names"]) for c in config["conditions"]] == [
        ("class", 0.2, ["0", "1"]),
        ("kind", 0.3, ["cat", "dog", "emu"]),
    ]
    assert (config["train"]["flip"], config["train"]["crop"]) == (True, 1.2)
    words = ["--network.middle-attention", "--condition", "class", "kind", "--condition-via", "embedding", "tokens"]
    told = gendi("train", rich, *flags, *words, "--steps", "2", "--out", str(tmp_path / "b"))
    assert told.code == 0, told.err
    entered = [c["via"] for c in read_toml(tmp_path / "b" / "config.toml")["config"]["conditions"]]
    assert entered == ["embedding", "tokens"]
    assert gendi("sample", str(run), "--n", "4", "--steps", "2", "--out", str(tmp_path / "x.png")).code == 0


def test_conditions_may_have_the_names_of_arguments(gendi: Gendi, tmp_path: Path) -> None:
    """eta, noise, order, times, x and t are data like any other, from training to the evaluation."""
    rng, n, names = np.random.default_rng(0), 16, ("eta", "noise", "order", "times", "x", "t", "steps")
    columns = {name: np.arange(n) % 2 if name != "eta" else rng.normal(size=n) for name in names}
    images = rng.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "named.npz", images=images, **columns)  # type: ignore[arg-type]
    flags = [word for word in TINY if word not in ("--condition", "class")]
    run = str(tmp_path / "run")
    trained = gendi("train", str(tmp_path / "named.npz"), *flags, "--condition", *names, "--steps", "2", "--out", run)
    assert trained.code == 0, trained.err
    asked = [word for name in names for word in ("--condition", f"{name}=1")]
    for sampler, more in (("ddim", ["--eta", "0.5"]), ("unipc", ["--options", "order=2"])):
        flags = ["--sampler", sampler, "--steps", "3", "--n", "4", *asked, *more, "--guidance", "2"]
        drawn = gendi("sample", run, *flags, "--out", str(tmp_path / f"{sampler}.png"))
        assert drawn.code == 0, drawn.err
        again = gendi("sample", "--again", str(tmp_path / f"{sampler}.png"), "--out", str(tmp_path / "again.png"))
        assert again.code == 0, again.err
    measured = gendi("evaluate", run, "--n", "4", "--steps", "2", *asked, "--guidance", "2")
    assert measured.code == 0, measured.err
    varied = gendi("vary", run, str(picture_of(images[0], tmp_path)), "--steps", "2", *asked)
    assert varied.code == 0, varied.err


def picture_of(pixels: Any, folder: Path) -> Path:
    Image.fromarray(pixels[..., 0]).save(folder / "one.png")
    return folder / "one.png"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--condition none class", "named 'none'. Known: class"),
        ("--condition class --condition-dropout 0.1 0.2", "2 values for 1 condition(s)"),
        ("--condition class --condition-via channels", "class is no image: it enters via 'embedding' or 'tokens'"),
        ("--condition class --condition-via tokens", "give network.attention a level, or set middle_attention"),
        ("--condition class --condition-via token", "tokens"),
        ("--condition class --condition-via embedding tokens", "2 values for 1 condition(s)"),
        ("--condition class --condition-dropout 1.5", "conditions.class.dropout = 1.5 is out of range"),
        ("--condition class class", "no other condition has"),
        ("--condition clas", "Perhaps you meant 'class'. Known: class, dose, kind, low-res:F, wears"),
        ("--condition odd", "no condition can be made of it: it has 3 rows for 16 images"),
        ("--condition low-res:9", "with F from 2 to 8"),
        ("--crop 0.5", "train.crop = 0.5 is out of range"),
        ("--crop nan", "train.crop = nan is out of range"),
    ],
)
def test_refusals(gendi: Gendi, rich: str, tmp_path: Path, flags: str, said: str) -> None:
    outcome = gendi("train", rich, *flags.split(), "--steps", "1", "--out", str(tmp_path / "run"))
    assert outcome.code == 2
    assert said in outcome.err and all(line.startswith("  gendi ") for line in outcome.err.splitlines()[1:])
