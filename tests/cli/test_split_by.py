"""`gendi train --split-by`: kept by run and bundle, the same rows when it goes on, refused where it means nothing."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from gendi.api.fit import load
from gendi.data import open_data

FLAGS = ("--network.channels", "16", "--batch-size", "16", "--condition", "none", "--train.preview-every", "0")
STEADY = ("--optim.warmup", "0", "--optim.decay", "0", "--train.precision", "fp32", "--train.layout", "contiguous")
"""One learning rate and one arithmetic, so that a run of four steps begins as one of eight does."""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    donors = [f"d{i}" for i in rng.integers(0, 6, 150)]
    pd.DataFrame({"a": rng.normal(0, 1, 150), "b": rng.normal(3, 1, 150), "donor": donors}).to_csv("p.csv", index=False)
    return tmp_path


def test_a_run_keeps_its_split_and_goes_on_exactly(gendi: Callable[..., Any], table: Path) -> None:
    line = ("train", "p.csv", "--split-by", "donor", *FLAGS, *STEADY)
    whole = gendi(*line, "--steps", "8", "--out", "whole")
    assert whole.code == 0, whole.err
    assert "split by donor" in whole.err + whole.out
    assert gendi(*line, "--steps", "4", "--out", "parts").code == 0
    half = load("parts").state
    assert gendi(*line, "--steps", "8", "--out", "parts").code == 0
    a, b = load("whole"), load("parts")
    assert a.state.keys() == b.state.keys() == half.keys()
    assert all(torch.equal(a.state[name], value) for name, value in b.state.items())
    assert not all(torch.equal(half[name], value) for name, value in b.state.items())
    data = tomllib.loads(Path("whole/config.toml").read_text(encoding="utf-8"))["data"]
    assert data["split_by"] == a.meta["split_by"] == "donor"
    assert data["spec"] == a.meta["data_spec"] == "p.csv?split-by=donor"
    opened = open_data(a.meta["data_spec"])
    assert opened.fingerprint == a.meta["fingerprint"] == b.meta["fingerprint"]
    assert not set(opened.train.groups) & set(opened.heldout.groups)
    assert json.loads(Path("whole/bundle/config.json").read_text(encoding="utf-8"))["meta"]["split_by"] == "donor"
    other = gendi("train", "p.csv", *FLAGS, *STEADY, "--steps", "9", "--out", "whole")
    assert other.code == 3
    assert "begun with --split-by donor, and now there is no --split-by" in other.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("p.csv", "--split-by", "donro"), 2, "'donor'"),
        (("toy:moons", "--split-by", "donor"), 2, "cells and tables"),
    ],
)
def test_what_is_refused(gendi: Callable[..., Any], table: Path, words: tuple[str, ...], code: int, said: str) -> None:
    shown = gendi("train", *words, "--steps", "2", "--out", "x")
    assert shown.code == code and said in shown.err
    assert not Path("x").exists()
