"""`gendi.cells.encode`: existing cells in model space, in a world whose factor is known."""

import dataclasses
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import gendi
import gendi.cells
from gendi.data.cells.config import CellsConfig
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.errors import DataError, UsageError
from gendi.train.config import RunConfig
from gendi.train.presets import get_preset

GENES, LOADING = 30, 0.8
SIGNS = np.where(np.arange(10) % 2, -1, 1)
"""Half of the genes behind the factor fall with it, so that it does not change the depth."""


def world(n: int, seed: int = 0) -> Any:
    """Return n cells of two types, with one factor (`obs["truth"]`) behind the first ten of thirty genes."""
    rng = np.random.default_rng(seed)
    labels, truth = rng.integers(0, 2, n), rng.standard_normal(n)
    rates = np.stack([np.linspace(1, 6, GENES), np.linspace(6, 1, GENES)])
    rates /= rates.sum(1, keepdims=True)
    z = rng.standard_normal((n, GENES))
    z[:, :10] = LOADING * SIGNS * truth[:, None] + np.sqrt(1 - LOADING**2) * z[:, :10]
    mu = rates[labels] * rng.lognormal(6.5, 0.3, (n, 1))
    counts = stats.nbinom(4, 4 / (4 + mu)).ppf(stats.norm.cdf(z))
    obs = pd.DataFrame({"type": pd.Categorical(np.array(["a", "b"])[labels]), "truth": truth})
    obs.index = obs.index.astype(str)
    var = pd.DataFrame(index=[f"gene{i}" for i in range(GENES)])
    return anndata.AnnData(counts.astype(np.float32), obs=obs, var=var)


def config(*conditions: str) -> RunConfig:
    return dataclasses.replace(
        get_preset("cells").config,
        network=NetworkConfig("mlp", channels=(8,), blocks=1, time_dim=8),
        conditions=tuple(ConditionConfig(name) for name in conditions),
        cells=CellsConfig(factors=2, clusters=2),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encode") / "run"
    gendi.fit(world(1200), out=path, config=config("type"), steps=1, quiet=True)
    return path


@pytest.mark.statistical
def test_planted_factors_are_found_in_the_latent(run: Path) -> None:
    """Of ten scores with loading 0.8, factors have the posterior variance 1 / (1 + 10 0.64 / 0.36) = 0.053, and a draw
    the squared correlation 0.947^2 = 0.90 with the truth. Counts of about 20 keep nearly all of that. Of 600 new cells
    the error of the correlation is (1 - 0.9) / sqrt(600) = 0.004; 0.05 is left for the fit and the counts.
    """
    fresh = world(600, seed=1)
    x = gendi.cells.encode(run, fresh)
    assert x.dtype == np.float32 and x.shape == (600, 3)
    design = np.c_[x[:, 1:], np.ones(600)]
    fitted = design @ np.linalg.lstsq(design, fresh.obs["truth"], rcond=None)[0]
    assert np.corrcoef(fitted, fresh.obs["truth"])[0, 1] ** 2 == pytest.approx(0.9, abs=0.05)
    law = gendi.load(run).codec.depth  # type: ignore[attr-defined]
    np.testing.assert_allclose(x[:, 0], (np.log(fresh.X.sum(1)) - law.mean) / law.std, rtol=1e-5, atol=1e-5)


@pytest.mark.statistical
def test_decoded_again_genes_have_the_means_and_correlations_of_the_cells(run: Path) -> None:
    """Means of 600 cells of a variance of mu + mu^2 / 4 differ by sqrt(2 / 4 / 600) = 3% of mu, five of which are
    allowed; the mean of 45 correlations by 0.01 or so, and by what the fit misses."""
    fresh = world(600, seed=2)
    model = gendi.load(run)
    cond = {"type": torch.from_numpy(fresh.obs["type"].cat.codes.to_numpy().astype(np.int64))}
    again = model.codec.decode(torch.from_numpy(gendi.cells.encode(model, fresh)), cond, 5, 0).numpy()
    np.testing.assert_allclose(again.mean(0), fresh.X.mean(0), rtol=0.15)
    pairs = np.triu_indices(10, 1)
    before, after = (np.corrcoef((SIGNS * np.log1p(k[:, :10])).T)[pairs].mean() for k in (fresh.X, again))
    assert after == pytest.approx(before, abs=0.05)


def test_genes_are_matched_by_name_and_missing_ones_are_named(run: Path) -> None:
    fresh = world(20, seed=3)
    more = anndata.AnnData(
        np.c_[np.full((20, 1), 7.0, np.float32), fresh.X[:, ::-1]],
        obs=fresh.obs,
        var=pd.DataFrame(index=["other", *fresh.var_names[::-1]]),
    )
    np.testing.assert_array_equal(gendi.cells.encode(run, more), gendi.cells.encode(run, fresh))
    both = gendi.cells.encode(run, [fresh, more])
    assert len(both) == 40
    np.testing.assert_array_equal(both[:20], gendi.cells.encode(run, fresh))
    with pytest.raises(DataError, match=r"2 of the model's 30 genes are missing.*gene0, gene1"):
        gendi.cells.encode(run, fresh[:, 2:].copy())


def test_cells_without_a_known_class_are_said(run: Path) -> None:
    fresh = world(20, seed=4)
    fresh.obs["type"] = pd.Categorical(["new"] * 5 + ["a"] * 15)
    with pytest.warns(UserWarning, match="5 of 20 cells have no type that the model knows"):
        gendi.cells.encode(run, fresh)
    del fresh.obs["type"]
    with pytest.warns(UserWarning, match="20 of 20 cells"):
        gendi.cells.encode(run, fresh)


def test_clusters_of_new_cells_are_those_of_training(tmp_path: Path) -> None:
    """Without labels, the two types are the two clusters, and new cells are encoded without a warning."""
    gendi.fit(world(300), out=tmp_path / "run", config=config(), steps=1, quiet=True)
    assert gendi.cells.encode(tmp_path / "run", world(30, seed=5)).shape == (30, 3)


def test_other_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="for models of cells"):
        gendi.cells.encode("digits", world(5))
