"""`gendi privacy` of a table and of cells, from a run and from files."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

import gendi as library
from conftest import Gendi

SMALL = ("--network.channels", "16", "--network.blocks", "1", "--network.time-dim", "16", "--batch-size", "32")


def people(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 9, n).round(3)
    return pd.DataFrame({"age": age, "pay": (age * 2 + rng.normal(0, 5, n)).round(3), "sex": rng.choice(["f", "m"], n)})


def test_a_run_of_a_table_is_attacked(gendi: Gendi, tmp_path: Path) -> None:
    data, run = tmp_path / "people.csv", tmp_path / "run"
    people(400, 0).to_csv(data, index=False)
    assert gendi("train", str(data), *SMALL, "--steps", "2", "--out", str(run)).code == 0
    done = gendi("privacy", str(run))
    assert done.code == 0, done.err
    assert "in the samples' place" in done.out and "copier" in done.out and "where 0.5 is chance" in done.out
    kept = json.loads((run / "privacy.json").read_text())
    assert kept["samples"] == 3 * kept["training"] and kept["sets"]["copier"]["attacks"]["distance"]["auc"] > 0.9
    found = library.privacy(run)  # the same seed, so the same samples
    assert json.loads(json.dumps(found.to_dict())) == kept


def test_a_file_that_copies_is_found(gendi: Gendi, tmp_path: Path) -> None:
    data, fake = tmp_path / "people.csv", tmp_path / "fake.csv"
    people(400, 0).to_csv(data, index=False)
    people(400, 0).to_csv(fake, index=False)  # all rows of the data, the held-out ones included
    done = gendi("privacy", "--samples", str(fake), "--data", str(data), "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["sets"]["samples"]["copies"]["value"] > 0.5


def test_what_cannot_be_attacked(gendi: Gendi, tmp_path: Path) -> None:
    neither = gendi("privacy")
    assert neither.code == 2 and "neither was given" in neither.err
    without = gendi("privacy", "--samples", "fake.csv")
    assert without.code == 2 and "--samples needs --data" in without.err
    pictures = gendi("privacy", "digits")
    assert pictures.code == 2 and "for tables and cells, not for pictures" in pictures.err
