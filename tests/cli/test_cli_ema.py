"""`gendi ema` on a run of twelve steps with snapshots, and what it refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import TINY

from gendi.cli import main
from gendi.train.kept.bundle import load_bundle
from gendi.train.kept.checkpoint import load_latest

Gendi = Callable[..., Any]


@pytest.fixture(scope="session")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("ema") / "run"
    flags = [*TINY, "--steps", "12", "--optim.posthoc-every", "8", "--out", str(run)]
    assert main(["train", str(tiny_data), *flags]) == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_a_bundle_for_each_length_that_a_stranger_can_use(gendi: Gendi, run: Path) -> None:
    before = (run / "bundle/MANIFEST.json").read_bytes()
    shown = gendi(f"ema {run} --length 0.05 0.2 --json")
    assert shown.code == 0
    rows = json.loads(shown.out)["averages"]
    assert [row["sigma_rel"] for row in rows] == [0.05, 0.2]
    assert rows[0]["relative_error"] < 1e-6 < rows[1]["relative_error"] < 1
    bundle, checkpoint = load_bundle(run / "ema/length_0.05"), load_latest(run)
    assert checkpoint is not None
    assert all(torch.equal(bundle.state[name], value) for name, value in checkpoint.tensors["power_0"].items())
    assert bundle.meta["posthoc_ema"]["snapshots"][0] == {"images": 8, "sigma_rel": pytest.approx(0.05)}
    assert "metrics" not in bundle.meta
    assert (run / "bundle/MANIFEST.json").read_bytes() == before
    out = run.parent / "x.npz"
    assert gendi(f"sample {run / 'ema/length_0.2'} --n 2 --steps 2 --out {out}").code == 0


def test_people_are_told_the_error_and_what_to_do_next(gendi: Gendi, run: Path) -> None:
    place = run.parent / "mine"
    shown = gendi(f"ema {run} --length 0.1 --at 24 --out {place}")
    assert shown.code == 0
    assert "error of the profile" in shown.out and "24" in shown.out
    assert f"evaluate {place}" in shown.err
    assert load_bundle(place).meta["images"] == 24
    assert "(power-function average, sigma_rel = 0.1 of 24 images)" in (place / "README.md").read_text()
    assert gendi(f"ema {run} --length 0.05 --out {place}").code == 0  # its own may be written again
    assert load_bundle(place).meta["images"] == 48
    for _ in range(2):
        assert gendi(f"ema {run} --length 0.05 --out {run / 'mine'}").code == 0
    assert gendi(f"ema {run} --length 0.05 0.1 --out {run.parent / 'both'}").code == 0
    assert load_bundle(run.parent / "both/length_0.1").meta["posthoc_ema"]["sigma_rel"] == 0.1


def test_replace_alone_touches_the_runs_own_bundle_and_the_old_one_can_be_had_back(
    gendi: Gendi, run: Path, tiny_data: Path
) -> None:
    weights = run / "bundle/model.safetensors"
    old = weights.read_bytes()
    shown = gendi(f"ema {run} --length 0.1 --replace")
    assert shown.code == 0
    assert load_bundle(run).meta["posthoc_ema"]["sigma_rel"] == 0.1
    assert weights.read_bytes() != old
    assert "delete" in shown.err and f"evaluate {run}" in shown.err
    shutil.rmtree(run / "bundle")
    flags = [*TINY, "--steps", "12", "--optim.posthoc-every", "8", "--out", str(run)]
    assert gendi("train", str(tiny_data), *flags).code == 0
    assert weights.read_bytes() == old


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ema", "RUN"),
        ("ema runs/none", "--length is missing"),
        ("ema runs/none --length 0", "--length 0 is out of range"),
        ("ema runs/none --length 0.1 0.3", "--length 0.3 is out of range: above 0, up to 0.2887"),
        ("ema runs/none --length nan", "--length nan is out of range"),
        ("ema runs/none --length 0.1 0.1", "twice"),
        ("ema runs/none --length 0.1 --out x --replace", "together"),
        ("ema runs/none --length 0.1 0.2 --replace", "one --length"),
        ("ema runs/none --length 0.1 --at 0", "between 1 and"),
        ("ema runs/none --length 0.1", "no folder runs/none"),
    ],
)
def test_refusals(gendi: Gendi, line: str, said: str) -> None:
    outcome = gendi(line)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.out == ""


def test_a_step_beside_a_snapshot_is_refused_and_nothing_is_written(gendi: Gendi, run: Path) -> None:
    """Snapshots are taken every 8 images: nothing ends at 21, and weights put together there would be noise."""
    outcome = gendi(f"ema {run} --length 0.1 --at 21")
    assert (outcome.code, outcome.out) == (2, "")
    assert "no snapshot was taken at 21 images" in outcome.err and "16 and 24" in outcome.err
    assert not list((run / "ema").glob("length_*"))


def test_places_that_are_not_its_own_are_left_alone(gendi: Gendi, run: Path, tiny_run: Path) -> None:
    other = run.parent / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    cases = {
        run / "bundle": "--replace",
        run / "bundle/inside": "sealed",
        run: "did not write",
        other: "did not write",
        other / "thesis.txt": "did not write",
        tiny_run / "bundle": "did not write",
    }
    for place, said in cases.items():
        outcome = gendi(f"ema {run} --length 0.1 --out {place}")
        assert (outcome.code, outcome.out) == (2, "")
        assert said in outcome.err
    assert (other / "thesis.txt").read_text() == "years of work"


def test_runs_it_cannot_use(gendi: Gendi, run: Path, tiny_run: Path) -> None:
    none = gendi(f"ema {tiny_run} --length 0.1")
    assert none.code == 2
    assert "--optim.posthoc-every 50000" in none.err
    bundle = gendi(f"ema {run / 'bundle'} --length 0.1")
    assert bundle.code == 2
    assert "folder of its run" in bundle.err
    early = gendi(f"ema {run} --length 0.1 --at 3")
    assert early.code == 2
    assert "reach from 8 to 48" in early.err
    path = run / "ema/images_000000000016/average_0.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    damaged = gendi(f"ema {run} --length 0.1")
    assert damaged.code == 4
    assert "images_000000000016/average_0.safetensors" in damaged.err


def test_a_dry_run_says_what_the_snapshots_take(gendi: Gendi, tiny_data: Path, tmp_path: Path) -> None:
    words = ["train", str(tiny_data), *TINY, "--steps", "12", "--out", str(tmp_path / "x"), "--dry-run"]
    assert "snapshots" in gendi(*words, "--optim.posthoc-every", "8").out
    assert "about" not in gendi(*words).out
    refused = gendi(*words, "--optim.posthoc-every", "-1")
    assert refused.code == 2
    assert "optim.posthoc_every = -1 is out of range" in refused.err
