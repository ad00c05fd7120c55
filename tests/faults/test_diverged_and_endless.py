"""A model that blew up ends every command with exit code 6 and one sentence; a bundle cannot make a command endless."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from names_world import PICTURES, cells, pictures, table
from PIL import Image

import gendi
from gendi.api.request import MOST_OWN
from gendi.cli import main
from gendi.cli import requests as cli_requests
from gendi.errors import UsageError
from gendi.train.kept.bundle import load_bundle, save_bundle
from gendi.train.kept.status import write_status

SENTENCE = "The training of the model diverged, or its weights are damaged: train anew with a smaller learning rate"
SHORT = ("--n", "2", "--steps", "4")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data and the folder of a small run on pictures."""
    folder = tmp_path_factory.mktemp("blown")
    world, run = pictures(folder, ["a", "b", "c"]), folder / "run"
    assert main(["train", world.spec, *world.flags, "--batch-size", "4", "--steps", "2", "--out", str(run)]) == 0
    return Path(world.spec), run


def with_weights(run: Path, out: Path, value: float) -> Path:
    """Write the bundle of a run, with `value` as the bias of the last layer, to `out`."""
    bundle = load_bundle(run)
    state = {name: tensor.clone() for name, tensor in bundle.state.items()}
    state["head.bias"].fill_(value)
    save_bundle(out, dataclasses.replace(bundle, state=state))
    return out


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_diverged_ends_every_command_with_6(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], value: float
) -> None:
    data, run = trained
    model, out = str(with_weights(run, tmp_path / "model", value)), str(tmp_path / "out.png")
    picture = str(next(data.glob("*/*.png")))
    Image.fromarray(np.tile(np.uint8([0, 255]), (8, 4))).save(tmp_path / "mask.png")
    commands = [
        ["sample", model, *SHORT, "--out", out],
        *(["sample", model, *SHORT, "--sampler", name, "--out", out] for name in ("ddim", "heun", "dopri5", "unipc")),
        ["sample", model, *SHORT, "--guidance", "2", "--out", out],
        ["evaluate", model, "--n", "4", "--steps", "4"],
        ["likelihood", model, "--n", "1"],
        ["likelihood", model, "--n", "1", "--method", "ode"],
        ["vary", model, picture, "--n", "2", "--out", out],
        ["denoise", model, picture, "--n", "2", "--out", out],
        ["inpaint", model, picture, "--mask", str(tmp_path / "mask.png"), "--n", "2", "--out", out],
        ["interpolate", model, picture, picture, "--out", out],
    ]
    for command in commands:
        code, err = main(command), capsys.readouterr().err
        assert (code, SENTENCE in err) == (6, True), (command, err)


@pytest.mark.parametrize("make", [table, cells])
def test_a_model_of_rows_that_diverged_ends_with_6(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], make: object
) -> None:
    pytest.importorskip("anndata")
    assert callable(make)
    world, run = make(tmp_path, ["a", "b", "c"]), tmp_path / "run"
    assert main(["train", world.spec, *world.flags, "--batch-size", "4", "--steps", "2", "--out", str(run)]) == 0
    model = str(with_weights(run, tmp_path / "model", float("nan")))
    for command in (["sample", model, *SHORT, "--out", str(tmp_path / f"o{world.suffix}")], ["evaluate", model]):
        code, err = main(command), capsys.readouterr().err
        assert (code, SENTENCE in err) == (6, True), (command, err)


def test_an_adaptive_sampler_knows_values_far_from_all_data(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It runs out of calls; that is no matter of tolerances where x0_hat is a billion."""
    model = str(with_weights(trained[1], tmp_path / "model", 1e9))
    assert main(["sample", model, *SHORT, "--sampler", "dopri5", "--out", str(tmp_path / "o.png")]) == 6
    assert SENTENCE in capsys.readouterr().err
    small = ("--n", "2", "--steps", "2", "--sampler", "dopri5", "--out", str(tmp_path / "o.png"))
    assert main(["sample", str(trained[1]), *small]) == 2
    assert "Allow more calls" in capsys.readouterr().err


def test_a_run_that_diverged_before_its_first_bundle_is_said_to_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text("")
    write_status(run, "diverged", step=5, error="Training diverged")
    for command in ("sample", "evaluate", "likelihood"):
        assert main([command, str(run), "--n", "2"]) == 6
        assert SENTENCE in capsys.readouterr().err
    write_status(run, "preempted", step=5)
    assert main(["sample", str(run)]) == 2


def test_a_training_that_blows_up_and_its_samples_end_with_6(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, run = pictures(tmp_path, ["a", "b", "c"]), tmp_path / "run"
    wild = ("--optim.lr", "100", "--optim.clip", "0", "--optim.warmup", "0", "--steps", "12", "--batch-size", "4")
    assert main(["train", world.spec, *PICTURES, *wild, "--out", str(run)]) == 6
    for command in ("sample", "evaluate", "likelihood"):
        assert main([command, str(run), "--n", "2"]) == 6
        assert SENTENCE in capsys.readouterr().err


def test_a_bundle_that_asks_for_a_million_calls_is_asked_back(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = load_bundle(trained[1])
    endless = dataclasses.replace(bundle.config.sample, steps=1_000_000)
    config = dataclasses.replace(bundle.config, sample=endless)
    save_bundle(tmp_path / "model", dataclasses.replace(bundle, config=config))
    for command in ("sample", "evaluate"):
        assert main([command, str(tmp_path / "model"), "--n", "2"]) == 2
        assert "network calls per sample is 1,000,000" in capsys.readouterr().err
    with pytest.raises(UsageError, match="--steps 50"):
        gendi.sample(str(tmp_path / "model"), 2)
    assert main(["sample", str(tmp_path / "model"), *SHORT, "--out", str(tmp_path / "o.png")]) == 0
    enough = dataclasses.replace(config, sample=dataclasses.replace(endless, steps=MOST_OWN))
    assert gendi.sample(dataclasses.replace(bundle, config=enough), 1, steps=2).shape == (1, 8, 8, 1)


def test_a_long_drawing_says_about_how_long(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_requests, "ESTIMATE_AFTER", 0.0)
    for long, said in ((0.0, True), (1e9, False)):
        monkeypatch.setattr(cli_requests, "LONG", long)
        assert main(["sample", str(trained[1]), *SHORT, "--out", str(tmp_path / "o.png")]) == 0
        assert ("to go, judging by the first" in capsys.readouterr().err) is said
