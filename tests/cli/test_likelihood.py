"""`gendi likelihood` on a run of sixteen images of 8x8 (one held out), and what it refuses."""

import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gendi
from gendi.errors import DataError, UsageError

Gendi = Callable[..., Any]


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "tiny"))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "other.npz"
    np.savez(path, images=np.random.default_rng(1).integers(0, 256, (40, 8, 8), dtype=np.uint8))
    return path


def test_the_terms_add_up_and_the_picture_is_drawn(gendi: Gendi, run: Path) -> None:
    outcome = gendi(f"likelihood {run} --json")
    assert outcome.code == 0
    (found,) = json.loads(outcome.out)["sets"].values()
    terms = [found[name]["bits_per_dim"] for name in ("prior", "kl", "decoder")]
    assert found["total"]["bits_per_dim"] == pytest.approx(sum(terms), rel=1e-12)
    assert found["calls"] == found["steps"] == 10
    assert sum(found["nats_per_dim_of_parts"]) == pytest.approx(found["kl"]["nats_per_dim"], rel=1e-9)
    assert (run / "likelihood.png").read_bytes().startswith(b"\x89PNG")
    assert "its own conditions" in outcome.err


def test_other_data_stand_beside_its_own(gendi: Gendi, run: Path, other: Path) -> None:
    outcome = gendi(f"likelihood {run} {other} --draws 4 --n 2")
    assert outcome.code == 0
    assert all(word in outcome.out for word in ("prior", "kl", "decoder", "total", "AUROC", "other.npz"))
    assert "null conditions" in outcome.err


def test_the_ode_says_how(gendi: Gendi, run: Path) -> None:
    outcome = gendi(f"likelihood {run} --method ode --tolerance 1e-3")
    assert outcome.code == 0
    assert all(word in outcome.out for word in ("tolerance 0.001", "calls per image", "dequantisation: normal"))
    assert not (run / "likelihood.png").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("likelihood", "RUN"),
        ("likelihood runs/none", "no folder runs/none"),
        ("likelihood runs/none --n 0", "between 1 and"),
        ("likelihood runs/none --method obe", "Perhaps you meant 'ode'"),
        ("likelihood runs/none --draws 3", "--draws 3"),
        ("likelihood runs/none --method ode --draws 4", "--draws cannot be given with --method ode"),
        ("likelihood runs/none --probes 4", "--probes cannot be given with --method elbo"),
        ("likelihood runs/none --method ode --tolerance 2", "--tolerance 2"),
    ],
)
def test_refusals(gendi: Gendi, line: str, said: str) -> None:
    outcome = gendi(line)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.out == ""


def test_refusals_of_the_model(gendi: Gendi, tiny_run: Path) -> None:
    assert "1 to 10 steps" in gendi(f"likelihood {tiny_run} --steps 11").err
    assert "learned none" in gendi(f"likelihood {tiny_run} --variance learned").err


def test_images_of_another_size_and_a_bad_n(tiny_run: Path) -> None:
    with pytest.raises(DataError, match="height 8"):
        gendi.bits_per_dim(tiny_run, np.zeros((2, 9, 9, 1), np.uint8))
    with pytest.raises(UsageError, match="n = 0"):
        gendi.bits_per_dim(tiny_run, n=0)
    found = gendi.bits_per_dim(tiny_run, np.zeros((2, 8, 8, 1), np.uint8))
    assert math.isfinite(found.total.bits_error)


def test_a_signal_stops_it(gendi: Gendi, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(*args: Any, poll: Callable[[], None], **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        poll()

    monkeypatch.setattr("gendi.api.likelihood.bits_per_dim", measure)
    outcome = gendi(f"likelihood {run}")
    assert outcome.code == 75
    assert "Nothing was written" in outcome.err
