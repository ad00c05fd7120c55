"""What gendi 0.1.0 wrote before the package was rearranged still loads, goes on and draws the same samples.

`version_0_1.tar.gz` holds data, bundles, runs interrupted at step 5 of 10, and what was drawn from the bundles, all
written by that version; `made.json` in it lists the flags. A bundle
there is what the interrupted run of its name became.
"""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gendi.cli import main

ARCHIVE = Path(__file__).with_name("version_0_1.tar.gz")
INTERRUPTED = ("hybrid", "learned", "cells", "table")
EDITS = ("inpaint", "vary", "interpolate", "denoise", "mix")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the archive holds, entered."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENDI_CACHE", str(tmp_path / "cache"))
    return tmp_path


def same_pixels(a: Path, b: Path) -> bool:
    with Image.open(a) as first, Image.open(b) as second:
        return bool(np.array_equal(np.asarray(first), np.asarray(second)))


@pytest.mark.parametrize("name", ["hybrid", "learned"])
def test_pictures_of_seed_0_are_equal_to_the_byte(old: Path, name: str) -> None:
    assert main(["sample", name, "--n", "8", "--seed", "0", "--out", "new.png"]) == 0
    assert same_pixels(Path("new.png"), old / f"expected-{name}" / "samples.png")


@pytest.mark.parametrize("name", ["guided", "judged"])
def test_guided_pictures_are_drawn_again(old: Path, name: str) -> None:
    assert main(["sample", "--again", f"expected-hybrid/{name}.png", "--out", "new.png"]) == 0
    assert same_pixels(Path("new.png"), old / "expected-hybrid" / f"{name}.png")


@pytest.mark.parametrize("name", EDITS)
def test_edits_are_made_again(old: Path, name: str) -> None:
    """Since then edits have captions, in a strip below the single row of pictures."""
    assert main([name, "--again", f"expected-hybrid/{name}.png", "--out", "new.png"]) == 0
    with Image.open("new.png") as new, Image.open(old / "expected-hybrid" / f"{name}.png") as before:
        now, then = np.asarray(new), np.asarray(before)
    assert now.shape[1:] == then.shape[1:] and np.array_equal(now[: len(then) - 2], then[:-2])


@pytest.mark.parametrize("name", ["cells", "cells-log", "cells-latent"])
def test_counts_of_seed_0_are_equal(old: Path, name: str) -> None:
    anndata = pytest.importorskip("anndata")
    assert main(["sample", name, "--n", "8", "--seed", "0", "--out", "new.h5ad"]) == 0
    drawn = anndata.read_h5ad("new.h5ad")
    counts = drawn.layers.get("counts", drawn.X)
    found = np.asarray(counts.todense() if hasattr(counts, "todense") else counts)
    with np.load(old / f"expected-{name}" / "samples.npz") as expected:
        assert np.array_equal(found, expected["counts"])


def test_lines_of_seed_0_are_equal_to_the_byte(old: Path) -> None:
    assert main(["sample", "table", "--n", "8", "--seed", "0", "--out", "new.csv"]) == 0
    assert Path("new.csv").read_bytes() == (old / "expected-table" / "samples.csv").read_bytes()


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", INTERRUPTED)
def test_an_interrupted_run_goes_on_to_the_same_weights(
    old: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    made = json.loads((old / "made.json").read_text())
    run = old / f"interrupted-{name}"
    assert main(["train", *made["runs"][name], *made["common"], "--out", run.name]) == 0
    assert "going on" in capfd.readouterr().err
    found = load_file(run / "bundle" / "model.safetensors")
    expected = load_file(old / name / "model.safetensors")
    assert found.keys() == expected.keys()
    # Equal on the machine that wrote them; elsewhere but for round-off. Cells are encoded anew, with other draws from
    # the same truncated normals, so their latents, of a few cells here, are equal in distribution only.
    rtol, atol, of_metrics = (0.1, 1e-2, 0.25) if name == "cells" else (1e-2, 1e-3, 1e-3)
    for key, tensor in found.items():
        torch.testing.assert_close(
            tensor, expected[key], rtol=rtol, atol=atol, msg=lambda text, key=key: f"{key}: {text}"
        )
    was, now = lines(old / f"expected-{name}" / "metrics.jsonl"), lines(run / "metrics.jsonl")
    assert [line.keys() for line in now] == [line.keys() for line in was]
    for a, b in zip(now, was, strict=True):
        for key in a.keys() - {"heldout_q"}:
            assert a[key] == pytest.approx(b[key], rel=of_metrics), key


@pytest.mark.parametrize("name", ["hybrid", "interrupted-hybrid", "classifier"])
def test_verify_finds_every_byte(old: Path, name: str) -> None:
    assert main(["verify", name]) == 0


def test_a_finished_run_of_the_old_version_is_finished(old: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = Path("finished")
    shutil.copytree("interrupted-learned", run)
    made = json.loads(Path("made.json").read_text())
    words = ["train", *made["runs"]["learned"], *made["common"], "--out", run.name]
    assert main(words) == 0
    capfd.readouterr()
    assert main(words) == 0
    assert "finished" in capfd.readouterr().err
