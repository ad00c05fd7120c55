"""What a RUN argument names: a folder, or a model that comes with gendi; and weights that are stored as float16."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from test_bundle import make_bundle, rewrite

import gendi
from gendi.errors import BundleError, UsageError
from gendi.storage.files import encode_json
from gendi.storage.safe_tensors import read_header
from gendi.train.kept.bundle import load_bundle, save_bundle
from gendi.train.kept.distil import usual_folder
from gendi.train.kept.folders import bundle_folder, near_models, place_of
from gendi.train.kept.inherit import source_config
from gendi.train.kept.shipped import begin_results, read_shipped

FACTS = {
    "about": "dots",
    "parameters": 1,
    "license": "none",
    "command": "gendi train dots",
    "float32_sha256": "0",
    "rounding": {"1": 1e-4},
}


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A box with one model, `dots`, and an empty current folder."""
    bundle = make_bundle()
    meta = {**bundle.meta, "weights": "float16", "shipped": FACTS}
    save_bundle(tmp_path / "box" / "dots" / "bundle", dataclasses.replace(bundle, meta=meta))
    monkeypatch.setattr("gendi.train.kept.shipped.home", lambda: tmp_path / "box")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "box"


def test_a_name_is_the_shipped_model_and_its_results_go_elsewhere(box: Path) -> None:
    assert gendi.load("dots").meta["data"] == "dots"
    assert source_config("dots") == make_bundle().config
    place = place_of("dots")
    assert (place.folder, place.home, place.shipped) == (box / "dots", Path("runs/shipped/dots"), True)
    assert gendi.sample("dots", n=2, steps=1).shape == (2, 5, 6, 1)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("path", ["x/dots", "dots/bundle", "/dots", "..", ".", "", "dot"])
def test_other_paths_are_not_its_name(box: Path, path: str) -> None:
    assert not place_of(path).shipped


def test_a_run_here_comes_first_and_is_named_in_a_note(box: Path, caplog: pytest.LogCaptureFixture) -> None:
    mine = dataclasses.replace(make_bundle(), meta={"data": "mine"})
    save_bundle(Path("dots/bundle"), mine)
    with caplog.at_level(logging.WARNING):
        assert load_bundle("dots").meta["data"] == "mine"
    assert "dots is taken as the folder of that name here" in caplog.text and not place_of("dots").shipped
    assert place_of("dots").home == Path("dots")


def test_a_folder_without_a_model_is_refused_rather_than_passed_over(box: Path) -> None:
    Path("dots").mkdir()
    with pytest.raises(UsageError, match="hides dots, the model that comes with gendi"):
        load_bundle("dots")


def test_a_file_of_the_name_is_no_run_and_hides_nothing(box: Path) -> None:
    Path("dots").write_text("a file")
    assert gendi.load("dots").meta["data"] == "dots"


def test_another_run_of_that_name_is_mentioned(box: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_bundle(Path("runs/dots/bundle"), make_bundle())
    with caplog.at_level(logging.WARNING):
        load_bundle("dots")
    assert "runs/dots is another model" in caplog.text
    caplog.clear()
    load_bundle("runs/dots")
    assert caplog.text == ""


def test_a_slip_is_mended_by_the_name(box: Path) -> None:
    with pytest.raises(UsageError, match="Perhaps you meant dots, which comes with gendi") as refused:
        bundle_folder(Path("dost"))
    assert [dict(mend.put) for mend in refused.value.mends] == [{"dost": "dots"}]
    assert near_models(Path("elsewhere/dost")) == []


def test_a_damaged_box_is_refused_by_the_file(box: Path) -> None:
    weights = box / "dots" / "bundle" / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    with pytest.raises(BundleError, match=r"model\.safetensors is damaged"):
        gendi.load("dots")


def test_the_student_of_a_shipped_model_goes_below_runs(box: Path) -> None:
    assert usual_folder("dots") == Path("runs/dots-student")
    assert usual_folder("other/dots") == Path("other/dots-student")


def test_only_the_folder_of_results_is_begun(box: Path) -> None:
    begin_results(Path("runs/other"))
    assert not Path("runs").exists()
    begin_results(Path("runs/shipped/dots"))
    assert [path.name for path in Path("runs/shipped/dots").iterdir()] == ["written.jsonl"]


def test_what_is_known_of_it_is_read_without_its_weights(box: Path) -> None:
    found = read_shipped("dots")
    assert found.facts == FACTS and found.weights.size == (box / "dots/bundle/model.safetensors").stat().st_size
    data = encode_json({"meta": {}, "config": {"sample": {}}})
    (box / "dots/bundle/config.json").write_text(data)
    with pytest.raises(BundleError, match="does not say what it is"):
        read_shipped("dots")


def test_weights_are_stored_as_the_nearest_float16_and_read_as_float32(tmp_path: Path) -> None:
    bundle = make_bundle()
    half = dataclasses.replace(bundle, meta={**bundle.meta, "weights": "float16"})
    folder = save_bundle(tmp_path / "half", half)
    stored = read_header(folder / "model.safetensors")
    assert {dtype for _, dtype in stored.values()} == {torch.float16}
    found = load_bundle(folder)
    for name, tensor in bundle.state.items():
        assert found.state[name].dtype == torch.float32
        assert np.array_equal(found.state[name].numpy(), tensor.numpy().astype(np.float16).astype(np.float32)), name
    again = save_bundle(tmp_path / "again", found)  # what is rounded stays as it is
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_weight_that_float16_has_no_number_for_is_named(tmp_path: Path) -> None:
    bundle = make_bundle()
    name = next(iter(bundle.state))
    bundle.state[name].flatten()[0] = 65520.0  # rounds to infinity; 65519 would be 65504
    with pytest.raises(UsageError, match=name):
        save_bundle(tmp_path / "x", dataclasses.replace(bundle, meta={"weights": "float16"}))


@pytest.mark.parametrize(("weights", "message"), [("float8", "float8"), (3, "3"), ("float16", "torch.float32")])
def test_a_bundle_that_says_otherwise_than_its_file_is_refused(tmp_path: Path, weights: object, message: str) -> None:
    folder = save_bundle(tmp_path / "bundle", make_bundle())
    rewrite(folder, meta={"weights": weights})
    with pytest.raises(BundleError, match=message):
        load_bundle(folder)
