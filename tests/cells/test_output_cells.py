"""What `gendi.sample` gives for cells: an AnnData that goes beside the real one."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import anndata
import matplotlib
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from cells_world import cells

import gendi
from gendi.cli import main
from gendi.data import open_data
from gendi.data.cells.observations import column_of
from gendi.data.cells.read import open_object, read_h5ad
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import UsageError
from gendi.train.presets import get_preset

matplotlib.use("Agg")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "run"
    config = get_preset("cells").config
    config = dataclasses.replace(
        config,
        network=NetworkConfig("mlp", channels=(32,), blocks=1, time_dim=16),
        conditions=(ConditionConfig("cell-type"), ConditionConfig("dose"), ConditionConfig("batch")),
        cells=dataclasses.replace(config.cells, factors=3),
    )
    gendi.fit(cells(), out=path, config=config, steps=30, quiet=True)
    return path


def test_it_has_the_form_of_the_real_one(run: Path) -> None:
    real, fake = cells(), gendi.sample(run, 40, seed=1)
    assert list(fake.var_names) == list(real.var_names) and list(fake.var["chromosome"]) == ["1"] * 12
    counts = fake.layers["counts"]
    assert counts.dtype.kind == "i" and counts.min() >= 0 and fake.obs_names.is_unique
    assert list(fake.obs["cell type"].cat.categories) == ["B", "A"] and set(fake.obs["source"]) == {"gendi"}
    assert fake.uns["cell type_colors"] == ["#ff0000", "#00ff00"]
    assert fake.obsm["X_gendi"].shape == (40, 4) and json.loads(fake.uns["gendi"])["seed"] == 1
    again = fake.copy()
    again.X = again.layers["counts"].astype(np.float32)
    sc.pp.normalize_total(again, target_sum=1e4)
    sc.pp.log1p(again)
    np.testing.assert_allclose(fake.X.toarray(), again.X.toarray(), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # scanpy calls what matplotlib is about to drop
def test_it_is_joined_with_the_real_one_and_drawn(run: Path, tmp_path: Path) -> None:
    real, fake = cells(), gendi.sample(run, 40)
    real.obs["source"] = "real"
    both = anndata.concat([real, fake], join="inner")
    assert both.shape == (100, 12) and both.obs["batch"].dtype == real.obs["batch"].dtype
    both.write_h5ad(tmp_path / "both.h5ad")
    both.obsm["X_umap"] = np.random.default_rng(0).random((100, 2))
    sc.pl.umap(both, color=["source", "cell type"], show=False)
    matplotlib.pyplot.close("all")


@pytest.mark.parametrize(
    "column",
    [
        np.arange(60) % 3,
        np.arange(60) % 2 == 0,
        pd.array([1, None, 2] * 20, dtype="Int64"),
        pd.array([True, None, False] * 20, dtype="boolean"),
        pd.Categorical(["low", "high", "low"] * 20, categories=["low", "high"], ordered=True),
        pd.Categorical([10, 2, 10] * 20, categories=[10, 2]),
        pd.Categorical([0.5, 0.25, None] * 20),
    ],
    ids=["int", "bool", "Int64", "boolean", "ordered", "categories of numbers", "categories of fractions"],
)
def test_a_column_comes_back_in_its_own_form(column: Any, tmp_path: Path) -> None:
    real = cells()
    real.obs["told"] = pd.Series(column, index=real.obs_names)
    loaded = open_object(real)
    spec = next(spec for spec in loaded.specs if spec.name == "told")
    fake = cells()
    form = json.loads(json.dumps(loaded.schema["forms"]["told"]))
    fake.obs["told"] = column_of(spec, loaded.conditions["told"], form, pd)
    pd.testing.assert_series_equal(fake.obs["told"], real.obs["told"], check_names=False)
    both = anndata.concat([real, fake], index_unique="-")
    assert both.obs["told"].dtype == real.obs["told"].dtype
    both.write_h5ad(tmp_path / "both.h5ad")


def test_python_names_what_the_network_is_told(tmp_path: Path) -> None:
    """One name, several, or none; a name that the data do not have is answered with those that they have."""
    config = dataclasses.replace(
        get_preset("cells").config, network=NetworkConfig("mlp", channels=(8,), blocks=1, time_dim=8)
    )
    config = dataclasses.replace(config, cells=dataclasses.replace(config.cells, factors=2))
    how: dict[str, Any] = {"config": config, "steps": 1, "quiet": True}
    for k, (given, told) in enumerate([("cell-type", ["cell-type"]), (("dose", "batch"), ["dose", "batch"]), ((), [])]):
        model = gendi.fit(cells(), out=tmp_path / str(k), condition=given, **how)
        assert [spec.name for spec in model.config.conditions] == told
    with pytest.raises(UsageError, match="'cell-typ'.*cell-type"):
        gendi.fit(cells(), out=tmp_path / "wrong", condition="cell-typ", **how)


def test_a_class_of_one_cell_can_be_asked_for(tmp_path: Path) -> None:
    real = cells()
    real.obs["rare"] = np.where(np.arange(60) == 3, "one", "many")
    config = dataclasses.replace(
        get_preset("cells").config,
        network=NetworkConfig("mlp", channels=(16,), blocks=1, time_dim=16),
        conditions=(ConditionConfig("rare"),),
    )
    run = tmp_path / "run"
    gendi.fit(
        real,
        out=run,
        config=dataclasses.replace(config, cells=dataclasses.replace(config.cells, factors=3)),
        steps=2,
        quiet=True,
    )
    assert set(gendi.sample(run, 5, condition={"rare": "one"}).obs["rare"]) == {"one"}


def test_a_cell_does_not_depend_on_its_neighbours(run: Path) -> None:
    whole = gendi.sample(run, 20, seed=4)
    part = gendi.sample(run, 3, seed=4, first_index=6)
    assert list(part.obs_names) == list(whole.obs_names[6:9])
    # the network's round-off depends on the batch: a count on the edge between two may differ
    differ = (part.layers["counts"] != whole.layers["counts"][6:9]).sum()
    assert differ <= 1


def test_cells_of_other_runs_seeds_and_requests_have_other_names(run: Path, tmp_path: Path) -> None:
    """They are joined without a warning; the same model, request and seed gives the same names, in memory too."""
    other = gendi.fit(cells(), out=tmp_path / "other", config=gendi.load(run).config, steps=3, quiet=True)
    kind = "cell-type"
    drawn = [
        gendi.sample(run, 12),
        gendi.sample(run, 12, seed=1),
        gendi.sample(run, 12, steps=5),
        gendi.sample(run, 12, guidance=2.0, condition={kind: "A"}),
        gendi.sample(run, 12, condition={kind: "A"}),
        gendi.sample(run, 12, condition={kind: "B"}),
        gendi.sample(other, 12),
    ]
    both = anndata.concat([cells(), *drawn])
    assert both.obs_names.is_unique and len(both) == 60 + 12 * len(drawn)
    for part, again in (
        (drawn[0], gendi.sample(dataclasses.replace(gendi.load(run), sha256=None), 5)),
        (drawn[4], gendi.sample(run, 5, condition={kind: ["A"] * 5})),
    ):
        assert list(again.obs_names) == list(part.obs_names[:5])


def test_what_is_asked_for_is_what_comes(run: Path, tmp_path: Path, capsys: Any) -> None:
    fake = gendi.sample(run, 10, condition={"cell-type": "A", "dose": 0.25})
    assert set(fake.obs["cell type"]) == {"A"} and set(fake.obs["dose"]) == {0.25}
    out = tmp_path / "fake.h5ad"
    assert main(["sample", str(run), "--n", "7", "--condition", "cell-type=A", "--out", str(out)]) == 0
    back = read_h5ad(str(out))
    assert back.shape == (7, 12) and set(back.obs["cell type"]) == {"A"}
    assert main(["sample", str(run), "--n", "7", "--condition", "cell-type=C", "--out", str(out)]) == 2
    assert "A" in capsys.readouterr().err
    assert main(["sample", str(run), "--out", str(tmp_path / "fake.csv")]) == 2
    assert "NAME.h5ad" in capsys.readouterr().err


def test_a_number_far_outside_the_training_data_is_drawn_with_a_warning(run: Path, tmp_path: Path, capsys: Any) -> None:
    dose = cells().obs["dose"].to_numpy()
    heldout = open_data(cells()).heldout.conditions["dose"]
    known = dose.astype(np.float32)
    known = known[~np.isin(known, heldout)].astype(np.float64)
    low, high, std = known.min(), known.max(), known.std()
    beyond = 7.5 - high
    with pytest.warns(UserWarning, match="dose = 7.5 lies outside") as found:
        gendi.sample(run, 3, condition={"dose": [float(low), 7.5, float(high)]})
    said = str(found[0].message)
    assert f"{low:,.6g} to {high:,.6g}: it is {beyond:,.4g} above their largest value" in said
    assert f"{beyond / std:.3g} of their standard deviations" in said and len(found) == 1
    out = tmp_path / "fake.h5ad"
    assert main(["sample", str(run), "--n", "2", "--condition", "dose=-1", "--out", str(out)]) == 0
    err = capsys.readouterr().err
    assert "warning: dose = -1 lies outside the training data" in err and "below their smallest value" in err
    assert main(["sample", str(run), "--n", "2", "--condition", f"dose={(low + high) / 2}", "--out", str(out)]) == 0
    assert "warning" not in capsys.readouterr().err


def test_blocks_of_cells_for_every_value_of_every_condition(run: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "fake.h5ad"
    blocks = ["--per-class", "2", "--out", str(out)]
    assert main(["sample", str(run), "--condition", "cell-type=A,B", *blocks]) == 0
    assert list(read_h5ad(str(out)).obs["cell type"]) == ["A", "A", "B", "B"]
    assert main(["sample", str(run), "--condition", "cell-type=A,B", "--condition", "dose=0.5,0.25,0.75", *blocks]) == 0
    obs = read_h5ad(str(out)).obs
    pairs = obs.groupby(["cell type", "dose"], observed=True).size()
    assert len(obs) == 12 and len(pairs) == 6 and set(pairs) == {2}
    assert main(["sample", str(run), *blocks]) == 2 and "--per-class needs" in capsys.readouterr().err
    assert main(["sample", str(run), "--condition", "cell-type=none", *blocks]) == 2
    assert "values to take in turn" in capsys.readouterr().err


def test_samples_can_be_trained_on(run: Path, tmp_path: Path) -> None:
    fake = gendi.sample(run, 60)
    fake = fake[np.asarray(fake.layers["counts"].sum(1)).ravel() > 0].copy()
    config = dataclasses.replace(gendi.load(run).config, conditions=())
    bundle = gendi.fit(fake, out=tmp_path / "second", config=config, steps=2, quiet=True)
    assert bundle.codec.header.schema["layer"] == "counts"


def test_samples_say_how_many_real_cells_stand_behind_a_class(run: Path, capsys: Any) -> None:
    """60 cells, 12 held out: a third of them are A, two thirds B, which are fewer than 50 both."""
    fake = gendi.sample(run, 5, condition={"cell-type": "A"})
    behind = json.loads(fake.uns["gendi"])["training_cells"]
    assert behind["cell-type"] == {"B": 32, "A": 16} and sum(behind["batch"].values()) == 48
    assert main(["sample", str(run), "--condition", "cell-type=A", "--n", "4", "--out", str(run / "a.h5ad")]) == 0
    assert "these classes of cell-type: A (16). However many" in capsys.readouterr().err


def test_profiles_of_classes_are_drawn_where_that_is_asked(run: Path) -> None:
    first, again = (gendi.sample(run, 6, profiles="per-cell").layers["counts"].toarray() for _ in range(2))
    np.testing.assert_array_equal(first, again)
    usual = gendi.sample(run, 6)
    assert not np.array_equal(usual.layers["counts"].toarray(), first)
    assert "profiles" not in json.loads(usual.uns["gendi"])
    drawn = gendi.sample(run, 6, profiles="per-seed")
    assert json.loads(drawn.uns["gendi"])["profiles"] == "per-seed"
    with pytest.raises(UsageError, match="There is no way with profiles named 'per-cel'. Perhaps you meant 'per-cell'"):
        gendi.sample(run, 6, profiles="per-cel")
