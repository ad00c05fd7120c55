"""Cells without classes are divided into clusters, and the network is given these."""

import dataclasses
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import scipy.stats
from sklearn.metrics import adjusted_rand_score

import gendi
from gendi.cli import main
from gendi.data import open_data
from gendi.data.cells.check import check_cells
from gendi.data.cells.clusters import cluster, grouped, marginals_of, most_likely, number_of_clusters
from gendi.data.cells.config import CellsConfig
from gendi.data.cells.marginals import Marginals
from gendi.data.cells.rows import CountRows
from gendi.data.split import Split
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.networks.config import NetworkConfig
from gendi.train.presets import get_preset


def types(n: int = 240, genes: int = 30, seed: int = 0) -> Any:
    """Return n cells without labels of three types, of which 1/2, 1/3 and 1/6 are; `uns` has the types.

    Each type has ten genes of its own, whose rates are eight times those of the other types. A cell of the second type
    has 40 counts of its genes and 10 of the others in the mean, so hardly a cell can be taken for one of another type.
    """
    rng = np.random.default_rng(seed)
    truth = np.array([0, 0, 0, 1, 1, 2])[np.arange(n) % 6]
    rates = np.where(np.arange(genes)[None] * 3 // genes == np.arange(3)[:, None], 4.0, 0.5)
    counts = rng.negative_binomial(2, 2 / (2 + rates[truth]))
    counts[:, 0] += 1
    obs = pd.DataFrame({"dose": rng.random(n)}, index=[f"cell{i}" for i in range(n)])
    var = pd.DataFrame(index=[f"gene{i}" for i in range(genes)])
    return anndata.AnnData(sp.csr_matrix(counts.astype(np.float32)), obs=obs, var=var, uns={"truth": truth})


def test_the_number_of_clusters_follows_its_rule() -> None:
    for cells, clusters in ((99, 0), (100, 3), (559, 8), (2000, 15), (10_000, 30), (1_000_000, 30)):
        assert number_of_clusters(cells) == clusters, cells
    assert [number_of_clusters(559, asked) for asked in (0, 1, 2, 12)] == [0, 0, 2, 12]


def test_planted_types_are_found_and_new_cells_are_assigned_to_them() -> None:
    adata, fresh = types(), types(seed=1)
    counts, truth = adata.X.toarray().astype(np.int64), adata.uns["truth"]
    labels = cluster(Split(counts), 3, 5, 0)
    assert adjusted_rand_score(truth, labels) > 0.9
    np.testing.assert_array_equal(np.argsort(-np.bincount(labels)), [0, 1, 2])
    assert (cluster(Split(counts), 3, 5, 0) == labels).all(), "by the seed alone"
    new = most_likely(Split(fresh.X.toarray().astype(np.int64)), marginals_of(Split(counts), labels, 3))
    assert adjusted_rand_score(fresh.uns["truth"], new) > 0.9


def test_cells_belong_to_the_cluster_of_the_largest_likelihood() -> None:
    """Against scipy's negative binomial summed over all genes, for cells of very different depths and rare genes."""
    rng = np.random.default_rng(3)
    rates, dispersions = rng.dirichlet(np.full(50, 0.3), 4).clip(1e-12), 10 ** rng.uniform(-4, 1, (4, 50))
    depth = 10 ** rng.uniform(1, 4, 300)
    counts = rng.poisson(rates[rng.integers(0, 3, 300)] * depth[:, None])
    counts[:, 0] += 1
    depth = counts.sum(1)
    law = scipy.stats.nbinom(1 / dispersions[:3, None], 1 / (1 + (dispersions * rates)[:3, None] * depth[:, None]))
    expected = law.logpmf(counts).sum(-1).argmax(0)
    for rows in (counts, CountRows(sp.csr_matrix(counts.astype(np.float32)))):
        np.testing.assert_array_equal(most_likely(Split(rows), Marginals(rates, dispersions)), expected)


def test_no_cluster_is_smaller_than_its_least_size() -> None:
    adata = types(n=120)  # twenty cells of the third type
    labels = cluster(Split(adata.X.toarray().astype(np.int64)), 12, 5, 0)
    assert np.bincount(labels).min() >= 20 and len(np.unique(labels)) == labels.max() + 1 < 12


def test_clusters_are_made_only_where_no_classes_are_told() -> None:
    adata = types()
    adata.obs["batch"] = np.where(np.arange(240) % 2 == 0, "a", "b")
    data, dose = open_data(adata), (ConditionConfig("dose"),)
    found = grouped(data, dose, CellsConfig(), 0, None, False)
    assert found.conditions[-1].name == "cluster" and "--cells.clusters 0 turns this off" in found.notes[-1]
    assert len(found.heldout.conditions["cluster"]) == len(data.heldout) and "cluster" not in data.train.conditions
    assert grouped(data, (ConditionConfig("batch"),), CellsConfig(), 0, None, False) is data
    assert grouped(data, dose, CellsConfig(clusters=0), 0, None, False) is data
    assert grouped(open_data(adata[:110].copy()), dose, CellsConfig(), 0, None, False).conditions[-1].name != "cluster"
    adata.obs["cluster"] = np.random.default_rng(0).random(240)
    assert grouped(open_data(adata), dose, CellsConfig(), 0, None, False).conditions[-1].name == "found-cluster"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = get_preset("cells").config
    config = dataclasses.replace(
        config,
        network=NetworkConfig("mlp", channels=(16,), blocks=1, time_dim=16),
        cells=dataclasses.replace(config.cells, factors=4, clusters=3),
    )
    path = tmp_path_factory.mktemp("clusters") / "run"
    gendi.fit(types(), out=path, config=config, steps=20, quiet=True)
    return path


def test_samples_have_the_clusters_of_training_and_can_be_requested_by_them(run: Path) -> None:
    """Of 192 training cells about 96, 64 and 32 are of the three types; 300 draws of shares have errors below 0.03."""
    fake = gendi.sample(run, 300)
    shares = fake.obs["cluster"].value_counts(normalize=True).reindex(["1", "2", "3"])
    np.testing.assert_allclose(shares, [1 / 2, 1 / 3, 1 / 6], atol=0.1)
    own = gendi.sample(run, 60, condition={"cluster": "2"}).layers["counts"].toarray().reshape(60, 3, 10).sum((0, 2))
    assert own[1] > 3 * own[0] and own[1] > 3 * own[2], "the second type's own ten genes"


def test_a_run_goes_on_with_the_clusters_that_it_began_with(run: Path) -> None:
    before = gendi.load(run).codec.training_conditions["cluster"].numpy()
    config = gendi.load(run).config
    config = dataclasses.replace(config, conditions=())  # as a person states it again
    gendi.fit(types(), out=run, config=config, steps=30, quiet=True)
    after = gendi.load(run)
    np.testing.assert_array_equal(after.codec.training_conditions["cluster"].numpy(), before)
    assert after.meta["step"] == 30 and [spec.name for spec in after.config.conditions] == ["cluster"]


def test_check_says_that_cells_will_be_divided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adata = types()
    assert check_cells(adata).clusters == 5  # the square root of 192, divided by 3, is 4.6
    adata.write_h5ad(tmp_path / "a.h5ad")
    assert main(["cells", "check", str(tmp_path / "a.h5ad")]) == 0
    assert "divides the cells into 5 clusters" in capsys.readouterr().out
