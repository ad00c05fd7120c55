"""`gendi distil` of cells and of a table, from training to evaluation, by the command line."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import Gendi
from gendi.data.tables.example import mixed_table

SMALL = ("--network.channels", "16", "--network.blocks", "1", "--network.time-dim", "16", "--batch-size", "32")


SLOW = [pytest.param(method, marks=pytest.mark.slow) for method in ("progressive", "mean-flow", "dmd")]


@pytest.mark.parametrize("method", ["ect", *SLOW])
def test_a_student_of_a_table_is_a_table_of_the_same_columns(gendi: Gendi, tmp_path: Path, method: str) -> None:
    data, run, out = tmp_path / "people.csv", tmp_path / "run", tmp_path / "student"
    mixed_table(300).to_csv(data, index=False)
    words = ["train", str(data), "--condition", "region", *SMALL, "--steps", "2", "--out", str(run)]
    assert gendi(*words).code == 0
    done = gendi("distil", str(run), "--method", method, "--calls", "1", "--steps", "2", "--out", str(out))
    assert done.code == 0, done.err
    drawn = gendi("sample", str(out), "--n", "20", "--condition", "region=north", "--out", str(tmp_path / "more.csv"))
    assert drawn.code == 0, drawn.err
    more = pd.read_csv(tmp_path / "more.csv")
    assert (
        len(more) == 20 and list(more.columns) == list(pd.read_csv(data).columns) and set(more["region"]) == {"north"}
    )
    scored = gendi("evaluate", str(out), "--n", "60", "--json")
    assert scored.code == 0, scored.err
    found = json.loads(scored.out)
    assert np.isfinite(found["metrics"]["energy"]["value"])
    assert found["source"]["steps"] == 1


def test_a_student_of_cells_draws_counts(gendi: Gendi, tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    pytest.importorskip("scanpy")
    run, out, data = tmp_path / "run", tmp_path / "student", tmp_path / "cells.h5ad"
    rng = np.random.default_rng(0)
    counts = rng.negative_binomial(2, 0.3, (240, 40)).astype(np.float32)
    obs = {"kind": np.repeat(["B", "T", "NK"], 80)}
    anndata.AnnData(counts, obs=pd.DataFrame(obs, index=[f"cell{i}" for i in range(240)])).write_h5ad(data)
    words = ["train", f"cells:{data}", "--condition", "kind", *SMALL, "--steps", "2", "--out", str(run)]
    done = gendi(*words)
    assert done.code == 0, done.err
    done = gendi("distil", str(run), "--method", "mean-flow", "--calls", "2", "--steps", "2", "--out", str(out))
    assert done.code == 0, done.err
    drawn = gendi("sample", str(out), "--n", "30", "--out", str(tmp_path / "fake.h5ad"))
    assert drawn.code == 0, drawn.err
    fake = anndata.read_h5ad(tmp_path / "fake.h5ad")
    assert fake.shape == (30, 40) and float(fake.X.min()) >= 0
    scored = gendi("evaluate", str(out), "--n", "40", "--json")
    assert scored.code == 0, scored.err
    assert json.loads(scored.out)["metrics"]
