"""A kind of data that a stranger brings, all the way: opened, encoded, trained on, kept, sampled, measured, written."""

import dataclasses
import importlib.metadata
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pair_kind
import pytest
import torch

import gendi
from gendi.api.request import Request
from gendi.cli import main
from gendi.data import KINDS, Data, open_data
from gendi.data.codec_files import codec_from_dict, read_codec
from gendi.data.kinds import claimed_by, default_preset, find_kind
from gendi.data.split import RowView, Split, hold_out_rows
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.samplers.grid import BOUNDS
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import BundleError, UsageError
from gendi.train.budget import Budget
from gendi.train.config import RunConfig, TrainConfig
from gendi.train.kept.bundle import load_bundle
from gendi.train.kept.status import read_lines
from gendi.train.presets import get_preset
from gendi.train.run.loop import train
from gendi.train.step.resolve import prepared, resolve, smallest_scale


@pytest.fixture(autouse=True)
def pairs() -> Iterator[None]:
    KINDS.register("pair", pair_kind.PAIRS)
    pair_kind.FITS.clear()
    yield
    KINDS.remove("pair")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savetxt(tmp_path / "pairs.txt", pair_kind.world(400))
    return tmp_path / "pairs.txt"


@pytest.fixture
def config() -> RunConfig:
    config = get_preset("cells").config
    return dataclasses.replace(
        config,
        network=NetworkConfig("mlp", channels=(32,), blocks=1, time_dim=16),
        train=TrainConfig(
            batch_size=32, preview_every=320, log_every=1, checkpoint_every=1e9, precision="fp32", layout="contiguous"
        ),
        conditions=(ConditionConfig("type"),),
    )


def opened(path: Path, config: RunConfig) -> tuple[RunConfig, Data]:
    data = open_data(f"pair:{path}")
    return resolve(config, data), data


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("cells:a/b.h5ad", ("cells", "a/b.h5ad", {})),
        ("b.h5ad?layer=counts&genes=5", ("cells", "b.h5ad", {"layer": "counts", "genes": "5"})),
        ("cells:pbmc68k", ("cells", "pbmc68k", {})),
        ("table.CSV", ("table", "table.CSV", {})),
        ("x/y.parquet", ("table", "x/y.parquet", {})),
        ("mnist", None),
        ("photos/", None),
        ("images.npz", None),
    ],
)
def test_what_a_path_names(spec: str, found: tuple[str, str, dict[str, str]] | None) -> None:
    kind = claimed_by(spec)
    assert (kind and (kind.name, *kind.place(spec))) == found
    assert default_preset(spec) == (found[0] if found else "mnist")


def test_an_option_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\?NAME=VALUE.*layer"):
        find_kind("cells:x.h5ad?layer").place("cells:x.h5ad?layer")


def test_a_fifth_of_each_class_is_held_out_and_nothing_is_lost(path: Path) -> None:
    data = open_data(f"pair:{path}")
    table = pair_kind.world(400)
    labels = table[:, 2].astype(int)
    for k in (0, 1):
        assert (data.heldout.conditions["type"] == k).sum() == round(0.2 * (labels == k).sum())
    both = np.concatenate([data.train.batch(range(len(data.train))), data.heldout.batch(range(len(data.heldout)))])
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(table[:, :2], axis=0))
    again = open_data(f"pair:{path}")
    np.testing.assert_array_equal(again.heldout.batch(range(5)), data.heldout.batch(range(5)))
    assert data.fingerprint == again.fingerprint and data.kind == "pair"
    assert data.schema == {} and open_data(f"pair:{path}?unit=1").schema == {"unit": "1"}


def test_a_view_is_the_rows_it_names() -> None:
    rows = np.arange(12).reshape(6, 2)
    view = RowView(rows, np.array([4, 0, 5]))
    np.testing.assert_array_equal(view[np.array([2, 0])], rows[[5, 4]])
    np.testing.assert_array_equal(view[1:3], rows[[0, 5]])
    assert view.shape == (3, 2) and len(view) == 3 and view.nbytes == 3 * 2 * rows.itemsize


def test_classes_of_a_single_row_stay_in_training() -> None:
    spec = ConditionConfig("type", "class", 3)
    whole = Split(np.arange(3.0)[:, None], {"type": np.arange(3)})
    train, heldout, _ = hold_out_rows(whole, (spec,), np.random.default_rng(0))
    assert (len(train), len(heldout)) == (2, 1)
    one = Split(np.zeros((1, 2)), {})
    assert hold_out_rows(one, (), np.random.default_rng(0))[2] == ("there is only one row: it is the held-out set too",)


def test_rows_are_encoded_once_and_the_codec_is_kept(path: Path, config: RunConfig, tmp_path: Path) -> None:
    config, data = opened(path, config)
    first = prepared(config, data, tmp_path / "codec")
    rows = first.train.batch(range(len(first.train)))
    assert first.encoded and rows.dtype == np.float32
    raw = np.asarray(data.train.batch(range(len(data.train))))
    standard = ((raw - raw.mean(0)) / raw.std(0)) @ first.fitted.tensors()["weights"].numpy().T
    np.testing.assert_allclose(rows, standard, atol=1e-5)  # the jitter is 1e-6
    second = prepared(config, data, tmp_path / "codec")
    np.testing.assert_array_equal(rows, second.train.batch(range(len(second.train))))
    assert pair_kind.FITS == [1] and first.codec == second.codec and prepared(config, second) is second
    assert (first.heldout.batch([0]) != first.train.batch([0])).any()
    (tmp_path / "codec" / "codec.json").write_text('{"kind": "pair", "rows": 7}')
    with pytest.raises(BundleError, match="codec"):
        read_codec(tmp_path / "codec")


@pytest.mark.parametrize("kind", ["cells-other", "pair-other", "cells", "else", 7, None])
def test_unknown_codecs_are_refused(kind: object) -> None:
    with pytest.raises(BundleError, match="no codec of kind"):
        codec_from_dict({"kind": kind})


def test_a_run_goes_on_exactly_and_its_bundle_draws(path: Path, config: RunConfig, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    # a learning rate that does not look at the budget, which differs between the sittings
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, warmup=0.0, decay=0.0))
    train(f"pair:{path}", config, whole, Budget(steps=30))
    for steps in (11, 30):
        train(f"pair:{path}", config, parts, Budget(steps=steps))
    one, two = gendi.load(whole), gendi.load(parts)
    assert all(torch.equal(one.state[name], two.state[name]) for name in one.state) and one.codec == two.codec
    assert (whole / "metrics.jsonl").read_text() == (parts / "metrics.jsonl").read_text()
    assert not list((whole / "previews").iterdir()) and (whole / "bundle" / "codec.safetensors").is_file()
    assert "(pair)" in (whole / "bundle" / "README.md").read_text()
    shutil.rmtree(whole / "codec")
    drawn = gendi.sample(whole, 50, seed=3)
    np.testing.assert_array_equal(gendi.sample(whole, 5, seed=3, first_index=10)[:, 2], drawn[10:15, 2])
    np.testing.assert_allclose(gendi.sample(whole, 5, seed=3, first_index=10), drawn[10:15], rtol=1e-4, atol=1e-4)
    assert set(gendi.sample(whole, 20, condition={"type": "long"})[:, 2]) == {1.0}


@pytest.mark.statistical
def test_what_nobody_asked_for_comes_as_in_training(path: Path, config: RunConfig) -> None:
    config, data = opened(path, config)
    codec = prepared(config, data).fitted
    n = 4000
    drawn = codec.draw_conditions(config.conditions, None, n, seed=0)["type"]
    share = float((data.train.conditions["type"] == 1).mean())
    assert abs(float((drawn == 1).double().mean()) - share) < 4 * (share * (1 - share) / n) ** 0.5  # 4 sd: p = 6e-5
    assert torch.equal(codec.draw_conditions(config.conditions, None, 10, seed=0, first=7)["type"], drawn[7:17])
    assert set(codec.draw_conditions(config.conditions, {"type": 0}, 9, seed=0)["type"].tolist()) == {0}
    assert codec.draw_conditions(config.conditions, {"type": None}, 9, seed=0) == {}
    with pytest.raises(UsageError, match="round"):
        codec.draw_conditions(config.conditions, {"type": "lung"}, 9, seed=0)


@pytest.mark.statistical
def test_the_commands(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = tmp_path / "run", tmp_path / "made.pair"
    flags = "--network.channels 64 --network.blocks 1 --steps 600 --optim.ema-images 5000 --out"
    assert main(["train", f"pair:{path}", "--condition", "type", *flags.split(), str(run)]) == 0
    assert main(["sample", str(run), "--n", "1000", "--condition", "type=long", "--out", str(out)]) == 0
    made = np.loadtxt(out)
    assert made.shape == (1000, 3)
    capsys.readouterr()
    assert main(["info", str(run)]) == 0 and "2 numbers in model space (pair)" in capsys.readouterr().out
    # the class was seen about 80 times: its mean is known to STD / sqrt(80) = 0.06 and 0.22, and 5 of those are allowed
    assert (np.abs(made[:, :2].mean(0) - pair_kind.MEAN[1]) < 5 * pair_kind.STD / 80**0.5).all()
    capsys.readouterr()
    assert main(["sample", str(run), "--out", str(tmp_path / "made.png")]) == 2
    assert "NAME.pair" in capsys.readouterr().err
    assert main(["train", f"pair:{path}", "--condition", "low-res:2", "--out", str(tmp_path / "b")]) == 2
    assert "for pictures" in capsys.readouterr().err
    assert main(["train", f"pair:{path}", "--condition", "tipe", "--out", str(tmp_path / "b")]) == 2
    assert "'type'" in capsys.readouterr().err
    assert main(["train", "mnist", "--layer", "counts"]) == 2
    assert main(["likelihood", str(run)]) == 2
    assert "bits per dimension is for pictures" in capsys.readouterr().err
    picture = tmp_path / "a.png"
    picture.write_bytes(b"")
    assert main(["vary", str(run), str(picture)]) == 2
    assert "editing is for pictures" in capsys.readouterr().err
    assert main(["train", f"pair:{path}", "--size", "8", "--out", str(tmp_path / "b")]) == 2
    assert "--size is for pictures" in capsys.readouterr().err


def test_a_codec_of_three_axes_with_weights_goes_all_the_way(path: Path, config: RunConfig, tmp_path: Path) -> None:
    unet = NetworkConfig("unet", channels=(8, 8), blocks=1, time_dim=16)
    run = tmp_path / "run"
    train(f"pair:{path}?grid=yes", dataclasses.replace(config, network=unet), run, Budget(steps=6))
    model = gendi.load(run)
    assert model.codec.shape == (1, 4, 4) and model.codec.tensors()["weights"].shape == (16, 2)
    assert model.codec == read_codec(run / "codec") and "1 x 4 x 4 numbers" in model.codec.description
    drawn = gendi.sample(model, 12, seed=1)
    assert drawn.shape == (12, 3) and np.isfinite(drawn).all()
    found = gendi.measure(drawn, f"pair:{path}", n=12)
    assert found.n == 12 and found.metrics and found.data == "pairs"
    assert gendi.measure(model, n=12).fingerprint == found.fingerprint
    assert main(["verify", str(run)]) == 0
    weights = run / "bundle" / "codec.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(BundleError, match=r"codec\.safetensors"):
        gendi.load(run)


def test_it_is_measured_by_the_command(
    path: Path, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gendi.evaluate.vectors.rows.SPLITS", 3)
    monkeypatch.setattr("gendi.evaluate.vectors.two_sample.TREES", 12)
    run = tmp_path / "run"
    train(f"pair:{path}", config, run, Budget(steps=6))
    assert main(["evaluate", str(run), "--n", "30", "--json"]) == 0
    assert (run / "evaluated.pair").is_file() and (run / "evaluation.json").is_file()
    assert main(["evaluate", "--samples", str(run / "evaluated.pair"), "--data", f"pair:{path}"]) == 0
    assert main(["evaluate", str(run), "--extractor", "pixels"]) == 2


def test_a_kind_of_an_installed_package_is_found(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    KINDS.remove("pair")
    point = importlib.metadata.EntryPoint("pair", "pair_kind:PAIRS", "gendi.kinds")
    broken = importlib.metadata.EntryPoint("broken", "no_such_module:KIND", "gendi.kinds")
    points = importlib.metadata.EntryPoints([broken, point])
    asked = []

    def offered(group: str) -> importlib.metadata.EntryPoints:
        asked.append(group)
        return points.select(group=group)

    monkeypatch.setattr("gendi.machine.registry.entry_points", offered)
    monkeypatch.setattr(KINDS, "_searched", False)
    try:
        assert claimed_by("mnist") is None and claimed_by(str(path.parent)) is None
        assert asked == []  # what is known otherwise is not looked for in packages
        with pytest.warns(UserWarning, match="'broken'.*cannot be loaded"):
            assert open_data(f"pair:{path}").kind == "pair"
        assert asked == ["gendi.kinds"]
        assert codec_from_dict({"kind": "pair", "rows": 0}, pair_tensors()).kind == "pair"
    finally:
        KINDS.remove("broken")


def pair_tensors() -> dict[str, torch.Tensor]:
    """Return the tensors of a codec that has seen no rows."""
    plain = pair_kind.PairCodec.fit(np.random.default_rng(0).normal(size=(9, 2)), {}, 0)
    return plain.tensors()


def test_a_name_that_is_taken_stays_what_it_is() -> None:
    with pytest.raises(UsageError, match="already"):
        KINDS.register("cells", pair_kind.PAIRS)
    assert [KINDS[name].name for name in KINDS.built_in] == ["cells", "table", "sequence", "toy", "image"]


def test_a_strangers_kind_is_evaluated_while_it_trains(
    path: Path, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says nothing of how to measure its rows: the default measures the numbers in them."""
    monkeypatch.setattr("gendi.train.progress.evaluating.SHARE", 1.0)
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, evaluate_every=640))
    train(f"pair:{path}", config, tmp_path / "run", Budget(steps=80))
    found = [line["evaluation"] for line in read_lines(tmp_path / "run/metrics.jsonl") if "evaluation" in line]
    assert len(found) == 2 and found[0]["metrics"].keys() == {"energy", "train-likeness"}
    assert abs(found[0]["metrics"]["energy"]["floor"]) < 0.05
    assert (tmp_path / "run/bundle-best/model.safetensors").exists()


def test_the_smallest_scale_of_the_data_is_kept_and_ends_the_grid(
    path: Path, config: RunConfig, tmp_path: Path
) -> None:
    """Two standardised columns of correlation r vary by sqrt(1 - r) in their narrow direction, and the end is a fifth.

    The codec standardises and rotates, which keeps widths, and jitters by 1e-6, which r = 0.998 does not notice.
    """
    rng = np.random.default_rng(0)
    rows = rng.multivariate_normal([0, 0], [[1, 0.998], [0.998, 1]], size=400)
    rows[:, 1] *= 7  # units do not matter
    np.savetxt(path, np.column_stack([rows, rng.integers(0, 2, 400)]))
    config, data = opened(path, dataclasses.replace(config, conditions=()))
    train(f"pair:{path}", config, tmp_path / "run", Budget(images=64))
    bundle = load_bundle(tmp_path / "run")
    width = math.sqrt(1 - np.corrcoef(data.train.batch(range(len(data.train))).T)[0, 1])
    assert bundle.meta["smallest_scale"] == pytest.approx(width, rel=0.01)
    assert bundle.bounds == (pytest.approx(width / 5, rel=0.01), BOUNDS[1])
    assert Request.of(bundle, 4, {}).how.bounds == bundle.bounds


def test_fewer_rows_than_numbers_have_no_smallest_scale(path: Path, config: RunConfig) -> None:
    config, data = opened(path, config)
    data = prepared(config, data)
    assert smallest_scale(data, config.conditions) == pytest.approx(1.0, abs=0.5)
    few = Split(data.train.batch([0, 1]), {name: rows[:2] for name, rows in data.train.conditions.items()})
    assert smallest_scale(dataclasses.replace(data, train=few), config.conditions) is None
