"""The generator's truth: the dose curve, what transport does to counts, what is planted, and the reading of files."""

import numpy as np
import pytest
from cells_world import cells
from scipy import stats

from gendi.data.cells.perturbation.hill import hill
from gendi.data.cells.perturbation.reading import read_experiment
from gendi.data.cells.perturbation.semi_synthetic import World, rates_of, semi_synthetic
from gendi.data.cells.perturbation.transport import expected, transport
from gendi.data.cells.perturbation.treatment import checked_dose
from gendi.errors import DataError, UsageError

KEYS = {"cell_type": "cell_type", "drug": "drug", "dose": "dose", "control": "control"}


def small(seed: int = 0, **options: object) -> World:
    rng = np.random.default_rng(7)
    labels = np.repeat(["a", "b", "c"], 30)
    rates = rng.gamma(1.0, 2.0, (3, 60)) + 0.3
    counts = rng.poisson(rates[np.repeat(np.arange(3), 30)])
    return semi_synthetic(counts, labels, seed, **{"drugs": 2, "programme": 8, "cells": 20, "interacting": 1} | options)


def test_hill_is_its_formula() -> None:
    x = np.array([0.0, 0.2, 3.0, 50.0, 1e300])
    assert hill(x[:-1], 3.0, 2.0) == pytest.approx(x[:-1] ** 2 / (x[:-1] ** 2 + 9), rel=1e-12)
    assert hill(3.0, 3.0, 1.7) == pytest.approx(0.5, rel=1e-12)
    assert hill(x, 3.0, 2.0)[[0, -1]] == pytest.approx([0, 1])


@pytest.mark.parametrize("bad", [(-1.0, 1.0, 1.0), (np.nan, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, -2.0)])
def test_hill_refuses_what_has_no_curve(bad: tuple[float, float, float]) -> None:
    with pytest.raises(UsageError):
        hill(*bad)


@pytest.mark.statistical
def test_thinning_is_binomial() -> None:
    counts = np.full((4000, 1), 12)
    moved = transport(counts, np.log([0.3]), np.array([1.0]), np.random.default_rng(0))[:, 0]
    observed = np.bincount(moved, minlength=13)
    law = stats.binom.pmf(np.arange(13), 12, 0.3) * 4000
    kept = law > 5
    chi2 = ((observed - law)[kept] ** 2 / law[kept]).sum()
    assert chi2 < stats.chi2.ppf(0.9999, kept.sum())  # 1 in 10,000 for another seed
    assert moved.max() <= 12


@pytest.mark.statistical
def test_addition_is_poisson() -> None:
    counts = np.tile([0, 10], (4000, 1))  # depth 10
    moved = transport(counts, np.log([3.0, 1.0]), np.array([0.1, 0.9]), np.random.default_rng(0))
    assert np.array_equal(moved[:, 1], counts[:, 1])  # a fold of 1 changes nothing
    added = moved[:, 0]  # Poisson(2 * 0.1 * 10 = 2): mean 2 +- sqrt(2 / 4000), its variance +- sqrt((2 + 8) / 4000)
    assert added.mean() == pytest.approx(2, abs=4 * np.sqrt(2 / 4000))
    assert added.var() == pytest.approx(2, abs=4 * np.sqrt(10 / 4000))


def test_expected_counts_are_the_mean_times_the_fold() -> None:
    counts = np.random.default_rng(1).poisson(2.0, (50, 6)).astype(np.int64)
    lfc = np.array([-2.0, -0.1, 0.0, 0.3, 1.0, 20.0])
    mean = expected(counts, lfc, rates_of(counts)).mean(0)
    assert mean == pytest.approx(np.exp(np.minimum(lfc, 8.0)) * counts.mean(0), rel=1e-12)


@pytest.mark.statistical
def test_treated_cells_have_the_expected_means() -> None:
    world = small(cells=4000)
    e = world.experiment
    for c, d in ((0, 0), (2, 1)):
        own = e.controls(c)
        lfc = world.truth.log_fold(c, d, 3.0)
        wanted = np.exp(lfc) * own.mean(0)
        treated = e.of(c, d, 3.0)
        error = treated.std(0) / np.sqrt(len(treated))
        assert (np.abs(treated.mean(0) - wanted) <= 4.5 * error + 1e-12).all()  # 60 genes at 4.5 sd: 4e-4


def test_truth_is_sparse_and_interactions_are_where_they_are_planted() -> None:
    truth = small(shared=0.5).truth
    assert ((truth.programmes != 0).sum(1) == 8).all()
    pairs = [(c, d) for c in range(3) for d in range(2) if truth.interacts(c, d)]
    assert len(pairs) == 2 and {d for _, d in pairs} == {0}
    sizes = sorted(np.abs(truth.interactions[c, 0]).sum() for c, _ in pairs)
    assert sizes[0] == pytest.approx(sizes[1] / 2)  # the nearest type shares half
    most = max(pairs, key=lambda pair: np.abs(truth.interactions[pair[0], 0]).sum())[0]
    total = truth.programmes[0] + truth.interactions[most, 0]
    assert (total[truth.programmes[0] != 0] == 0).sum() == 4  # resists half of the programme
    assert (truth.interactions[most, 0] != 0).sum() == 8  # and has as many genes of its own
    x, e, n = 0.7, truth.ec50[1], truth.slopes[1]
    assert truth.log_fold(1, 1, x) == pytest.approx(x**n / (x**n + e**n) * truth.programmes[1])


def test_no_real_cell_is_on_both_sides_and_a_seed_is_a_world() -> None:
    one, same, other = small(0), small(0), small(1)
    e = one.experiment
    assert e.control.sum() + len(one.kept) == 90
    assert np.array_equal(e.counts, same.experiment.counts)
    assert not np.array_equal(one.truth.programmes, other.truth.programmes)
    assert np.array_equal(one.treated(one.kept, 0, 0, 1.0, 5), same.treated(one.kept, 0, 0, 1.0, 5))


@pytest.mark.parametrize(
    "options", [{"doses": (0.0, 1.0)}, {"doses": ()}, {"doses": (np.nan,)}, {"interacting": 3}, {"shared": 2.0}]
)
def test_impossible_worlds_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        small(**options)


def test_too_few_cells_or_genes_are_refused() -> None:
    with pytest.raises(DataError, match="8 cells"):
        semi_synthetic(np.ones((10, 5)), np.repeat(["a", "b"], 5), 0)
    with pytest.raises(DataError, match="genes"):
        semi_synthetic(np.ones((20, 5)), np.repeat(["a", "b"], 10), 0)


def test_an_experiment_comes_back_from_its_anndata() -> None:
    e = small().experiment
    adata = small().to_anndata()
    for keys in (KEYS, KEYS | {"control": None}, KEYS | {"control": "control"}):
        back = read_experiment(adata, **keys)
        for name in ("counts", "types", "drugs", "doses"):
            assert np.array_equal(getattr(back, name), getattr(e, name)), name
        assert (back.type_names, back.drug_names, back.genes) == (e.type_names, e.drug_names, e.genes)
    adata.obs = adata.obs.drop(columns="control")
    assert np.array_equal(read_experiment(adata, **KEYS).drugs, e.drugs)  # "control" as a drug's name


@pytest.mark.parametrize("key", ["cell_type", "drug", "dose", "control"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(UsageError, match="no_such"):
        read_experiment(small().to_anndata(), **KEYS | {key: "no_such"})


@pytest.mark.parametrize("dose", [-1.0, np.nan, np.inf, 0.0])
def test_a_bad_dose_is_refused(dose: float) -> None:
    adata = small().to_anndata()
    adata.obs.iloc[-1, adata.obs.columns.get_loc("dose")] = dose
    with pytest.raises(DataError, match="dose"):
        read_experiment(adata, **KEYS)
    with pytest.raises(UsageError, match="dose"):
        checked_dose(dose)


def test_a_dose_that_is_no_number_is_refused() -> None:
    adata = small().to_anndata()
    adata.obs["dose"] = "high"
    with pytest.raises(DataError, match="not a number"):
        read_experiment(adata, **KEYS)


def test_controls_must_be_there_for_every_type() -> None:
    adata = small().to_anndata()
    without = adata[~adata.obs["control"].to_numpy()].copy()
    with pytest.raises(DataError, match="no control cell"):
        read_experiment(without, **KEYS)
    only = adata[adata.obs["control"].to_numpy()].copy()
    with pytest.raises(DataError, match="no treated cell"):
        read_experiment(only, **KEYS)
    one_type = adata[~(adata.obs["control"].to_numpy() & (adata.obs["cell_type"] == "b").to_numpy())].copy()
    with pytest.raises(DataError, match="type 'b'"):
        read_experiment(one_type, **KEYS)


def test_gaps_and_odd_controls_are_refused() -> None:
    adata = small().to_anndata()
    adata.obs["control"] = 0.5
    with pytest.raises(DataError, match="True or False"):
        read_experiment(adata, **KEYS)
    adata = small().to_anndata()
    adata.obs.loc["cell3", "cell_type"] = None
    with pytest.raises(DataError, match="empty in 1"):
        read_experiment(adata, **KEYS)


def test_log_data_are_refused() -> None:
    adata = cells()
    adata.X = adata.X.log1p()
    adata.obs["control"] = np.arange(60) % 2 == 0
    with pytest.raises(DataError, match="log1p"):
        read_experiment(adata, cell_type="cell type", drug="batch", dose="dose", control="control")
