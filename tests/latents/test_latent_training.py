"""Training in latents: exact resume of both stages, conditions, guidance, edits, evaluation, refusals, the commands."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_world import LINEAR, RUN, SMALL, TRAINING, write_pictures

import gendi
from gendi.cli import main
from gendi.data import open_data
from gendi.data.images.latents import LatentCodec
from gendi.diffusion.autoencoder.losses import reconstruction_loss
from gendi.errors import DataError, InterruptedRunError, UsageError
from gendi.train.budget import Budget
from gendi.train.kept.bundle import Bundle, load_bundle
from gendi.train.progress.signals import StopFlag
from gendi.train.run import autoencoder as module
from gendi.train.run.autoencoder import train_autoencoder
from gendi.train.step.autoencoder import AutoencoderTraining


@pytest.fixture(scope="module")
def model(pictures: str, autoencoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in the latents of the autoencoder."""
    run = tmp_path_factory.mktemp("runs") / "latents"
    gendi.fit(pictures, out=run, config=RUN, steps=6, quiet=True, autoencoder=autoencoder)
    return run


class Stop(StopFlag):
    """Asks to stop after some steps."""

    left = 3

    @property
    def requested(self) -> bool:
        Stop.left -= 1
        if Stop.left == 0:
            self.request("interrupted")
        return self.reason is not None


@pytest.mark.parametrize("regularise", ["noise", "kl"])
def test_an_autoencoder_that_was_interrupted_ends_bit_for_bit_as_one_that_was_not(
    pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, regularise: str
) -> None:
    config = replace(SMALL, regularise=regularise, strength=0.1)
    training, budget = AutoencoderTraining(**TRAINING), Budget(steps=8)
    whole = train_autoencoder(pictures, tmp_path / "whole", budget, config, training).codec
    with monkeypatch.context() as patch:
        Stop.left = 3
        patch.setattr(module, "StopFlag", Stop)
        with pytest.raises(InterruptedRunError, match="Step 3"):
            train_autoencoder(pictures, tmp_path / "parts", budget, config, training)
    found = train_autoencoder(pictures, tmp_path / "parts", budget, config, training)
    assert found.codec == whole and found.step == 8
    lines = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts")]
    assert lines[0] == lines[1]
    assert train_autoencoder(pictures, tmp_path / "parts", budget, config, training).already_finished


def test_training_reconstructs_better_than_principal_components(pictures: str, tmp_path: Path) -> None:
    """It begins as the best linear autoencoder, so whatever its loss falls by is what the convolutions learned."""
    config, options = replace(SMALL, regularise="none", equivariance=0.0), {**TRAINING, "lr": 1e-2}
    train, losses = open_data(pictures).train, []
    for steps in (1, 200):
        codec = gendi.fit_autoencoder(
            pictures, out=tmp_path / str(steps), config=config, steps=steps, quiet=True, **options
        )
        x = codec.pixels.encode(train.batch(range(len(train))))
        losses.append(float(reconstruction_loss(x, codec.network.decode(codec.network.encode(x))).mean()))
    assert losses[1] < 0.95 * losses[0]


def test_a_run_in_latents_draws_pictures_of_both_classes_and_its_bundle_is_whole(
    pictures: str, model: Path, codec: LatentCodec, tmp_path: Path
) -> None:
    bundle = load_bundle(model)
    assert bundle.codec == codec and bundle.codec.shape == (3, 4, 4)
    assert bundle.sigma_data == pytest.approx(1, abs=1e-3)
    (tmp_path / "alone").mkdir()
    moved = (model / "bundle").rename(tmp_path / "alone" / "bundle")
    try:
        drawn = gendi.sample(moved, n=4, steps=3, condition={"class": [0, 1, 0, 1]}, guidance=1.5)
        assert drawn.shape == (4, 16, 16, 3) and drawn.dtype == np.uint8
        assert np.array_equal(gendi.sample(moved, n=2, steps=3, condition={"class": [0, 1]}, guidance=1.5), drawn[:2])
    finally:
        moved.rename(model / "bundle")
    preview = json.loads((model / "codec" / "codec.json").read_text())
    assert preview["kind"] == "image-latent"


def test_a_run_in_latents_that_was_interrupted_goes_on_exactly_without_the_first_folder(
    pictures: str, autoencoder: Path, codec: LatentCodec, tmp_path: Path
) -> None:
    config = replace(RUN, train=replace(RUN.train, preview_every=16, evaluate_every=24))
    whole = gendi.fit(pictures, out=tmp_path / "whole", config=config, steps=6, quiet=True, autoencoder=autoencoder)
    gendi.fit(pictures, out=tmp_path / "parts", config=config, steps=3, quiet=True, autoencoder=codec)
    parts = gendi.fit(pictures, out=tmp_path / "parts", config=config, steps=6, quiet=True)
    # the budget decides when the learning rate falls, so the two differ there; a third repeats the second exactly
    again = gendi.fit(pictures, out=tmp_path / "again", config=config, steps=3, quiet=True, autoencoder=codec)
    again = gendi.fit(pictures, out=tmp_path / "again", config=config, steps=6, quiet=True, autoencoder=codec)
    assert whole.codec == parts.codec == again.codec
    assert all(torch.equal(parts.state[name], again.state[name]) for name in parts.state)
    assert list((tmp_path / "whole" / "previews").glob("step_*.png"))
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert any("evaluation" in line for line in lines)


def test_evaluation_prints_the_latent_floor_and_the_reconstruction(
    pictures: str, model: Path, codec: LatentCodec
) -> None:
    from gendi.data.images.evaluation import evaluate

    found = gendi.measure(model, n=3, extractor="pixels")
    decibels = found["reconstruction-psnr"]
    rows = open_data(pictures).heldout.batch(range(3)).astype(float)
    errors = np.square(codec.restored(rows.astype(np.uint8)) - rows).mean((1, 2, 3))
    assert decibels.value == pytest.approx(float(np.mean(10 * np.log10(255**2 / errors))), rel=1e-6)
    floor = found["latent-floor-pixels"]
    assert floor.floor == found["fid-pixels"].floor
    restored = evaluate(codec.restored(rows.astype(np.uint8)), open_data(pictures), n=3, extractor="pixels")
    assert floor.value == pytest.approx(restored["fid-pixels"].value, rel=1e-6)


def test_edits_that_make_sense_in_latents_work_and_others_say_why_not(pictures: str, model: Path) -> None:
    image, other = open_data(pictures).heldout.batch([0, 1])
    assert gendi.vary(model, image, n=2, strength=0.3, steps=3).shape == (2, 16, 16, 3)
    assert gendi.interpolate(model, image, other, n=3, steps=3).shape == (3, 16, 16, 3)
    assert gendi.mix(model, image, other, steps=3).shape == (16, 16, 3)
    mask = np.zeros((16, 16), np.uint8)
    mask[2:9, 5:10] = 1
    made = gendi.inpaint(model, image, mask, n=2, steps=3)
    assert np.array_equal(made[:, mask == 0], np.stack([image[mask == 0]] * 2))
    hidden = np.where(mask[..., None], 255 - image, image)
    assert np.array_equal(gendi.inpaint(model, hidden, mask, n=2, steps=3), made)
    with pytest.raises(UsageError, match="every square of 4 x 4"):
        gendi.inpaint(model, image, (np.indices((16, 16)).sum(0) % 4 == 0).astype(np.uint8), n=1, steps=2)
    for edit in (lambda: gendi.upscale(model, image[::4, ::4], n=1), lambda: gendi.denoise(model, image, n=1)):
        with pytest.raises(UsageError, match="needs a model of pixels"):
            edit()


def test_a_likelihood_is_refused_with_the_reason(model: Path) -> None:
    with pytest.raises(UsageError, match="the probability of a picture is unknown"):
        gendi.bits_per_dim(model, n=2)


def test_an_autoencoder_of_other_sizes_or_other_pictures_is_refused_and_may_be_used_all_the_same(
    pictures: str, autoencoder: Path, model: Path, tmp_path: Path
) -> None:
    more = {"config": RUN, "steps": 2, "quiet": True, "autoencoder": autoencoder}
    with pytest.raises(UsageError, match="--size 16x16"):
        gendi.fit(pictures, out=tmp_path / "x", size=8, **more)
    with pytest.raises(UsageError, match="for pictures"):
        gendi.fit("toy:moons", out=tmp_path / "x", **more)
    others = write_pictures(tmp_path / "others.npz", seed=1)
    with pytest.raises(DataError, match="learned from other pictures"):
        gendi.fit(others, out=tmp_path / "x", **more)
    assert not (tmp_path / "x").exists()
    assert isinstance(gendi.fit(others, out=tmp_path / "x", allow_data_change=True, **more), Bundle)
    with pytest.raises(UsageError, match="a folder of its own"):
        gendi.fit(pictures, out=autoencoder, **more)


def test_a_run_keeps_to_its_own_latents_or_pixels(
    pictures: str, autoencoder: Path, model: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    gendi.fit_autoencoder(pictures, out=other, config=LINEAR, steps=1, quiet=True, **TRAINING)
    more = {"config": RUN, "quiet": True}
    with pytest.raises(UsageError, match="works in the latents of another autoencoder"):
        gendi.fit(pictures, out=model, steps=7, autoencoder=other, **more)
    gendi.fit(pictures, out=tmp_path / "pixels", steps=1, **more)
    with pytest.raises(UsageError, match="works on pixels"):
        gendi.fit(pictures, out=tmp_path / "pixels", steps=2, autoencoder=autoencoder, **more)
    with pytest.raises(UsageError, match="mean nothing in these latents"):
        gendi.fit(pictures, out=tmp_path / "y", steps=2, autoencoder=other, init=model, **more)
    begun = gendi.fit(pictures, out=tmp_path / "y", steps=2, init=model, **more)
    assert begun.codec == load_bundle(model).codec


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample": replace(RUN.sample, clip=True)}, "sample.clip"),
        ({"train": replace(RUN.train, crop=1.1)}, "train.crop"),
    ],
)
def test_options_without_a_meaning_in_latents_are_refused(
    pictures: str, autoencoder: Path, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        gendi.fit(pictures, out=tmp_path / "x", config=replace(RUN, **changes), steps=1, autoencoder=autoencoder)


def test_low_resolution_is_no_condition_of_latents(pictures: str, autoencoder: Path, tmp_path: Path) -> None:
    from gendi.diffusion.config import ConditionConfig

    config = replace(RUN, conditions=(ConditionConfig("low-res:4"),))
    with pytest.raises(UsageError, match="needs a model of pixels"):
        gendi.fit(pictures, out=tmp_path / "x", config=config, steps=1, autoencoder=autoencoder)


def test_the_two_commands_go_the_whole_way(
    pictures: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--autoencoder.factor", "4", "--autoencoder.patch", "2", "--autoencoder.widths", "8", "16"]
    assert (
        main(["train-autoencoder", pictures, *small, "--steps", "5", "--batch-size", "8", "--precision", "fp32"]) == 0
    )
    said = capsys.readouterr()
    assert "dB" in said.out and "--autoencoder runs/shapes-autoencoder" in said.err
    tiny = ["--network.channels", "8", "16", "--network.groups", "4", "--network.time-dim", "16", "--batch-size", "8"]
    tiny += ["--train.precision", "fp32", "--train.layout", "contiguous", "--network.attention", "1"]
    chosen = ["train", pictures, "--autoencoder", "runs/shapes-autoencoder", *tiny]
    assert main([*chosen, "--dry-run", "--steps", "2"]) == 0
    assert "8 x 4 x 4" in capsys.readouterr().out
    assert main([*chosen, "--steps", "2"]) == 0
    assert (tmp_path / "runs" / "shapes-latents" / "bundle" / "codec.safetensors").is_file()
    assert main(["sample", "runs/shapes-latents", "--n", "2", "--steps", "2", "--out", "a.png"]) == 0
    assert main(["evaluate", "runs/shapes-latents", "--n", "3", "--steps", "2", "--extractor", "pixels"]) == 0
    assert "reconstruction-psnr" in capsys.readouterr().out
    assert main(["likelihood", "runs/shapes-latents"]) == 2
    assert "latents" in capsys.readouterr().err
    assert main(["report", "runs/shapes-latents"]) == 0
    assert main(["verify", "runs/shapes-latents"]) == 0
