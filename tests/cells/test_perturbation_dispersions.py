"""Changes of dispersion: what is observed of them, what is learned, and counts that are moved to another dispersion."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from scipy.special import polygamma
from test_perturbation_world import KEYS, small

from gendi.api.perturbation import fit, load, predict, save
from gendi.data.cells.perturbation.dispersions import LEAST_CURVATURE, log_dispersion, observe_dispersions
from gendi.data.cells.perturbation.dose_curves import DoseCurves
from gendi.data.cells.perturbation.experiment import CONTROL, Experiment
from gendi.data.cells.perturbation.shifts import observe
from gendi.data.cells.perturbation.transport import LEAST_CHANGE, transport

REST = 1e5
"""Counts of a gene that makes all cells of one depth, so that the others are negative binomial given it."""


def drawn(n: int, mean: np.ndarray, dispersions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return counts (n, G + 1) of genes with these means (G,) and dispersions (G,), and of the rest."""
    counts = rng.poisson(mean * rng.gamma(1 / dispersions, dispersions, (n, len(mean))))
    return np.concatenate([counts, REST - counts.sum(1, keepdims=True)], axis=1).astype(np.int64)


@pytest.mark.statistical
@pytest.mark.parametrize("a", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("off", [-1.0, 0.0, 1.0])
def test_the_dispersion_of_large_counts_is_known_as_well_as_a_gamma_shape(a: float, off: float) -> None:
    n, genes = 200, 100
    counts = drawn(n, np.full(genes, 800.0), np.full(genes, a), np.random.default_rng(0))
    found = log_dispersion([counts], np.full(genes + 1, a * np.exp(off)))
    # counts of a mean of 800 are as good as gamma variates of the shape r = 1 / a with their mean unknown, of which n
    # have the information n (r^2 psi'(r) - r) about ln r  [Lehmann & Casella 1998, example 2.6.4]
    r = 1 / a
    information = n * (r**2 * polygamma(1, r) - r)
    z = (found.at[:-1] + off) * np.sqrt(information)
    assert abs(z.mean()) < 4.5 / np.sqrt(genes) + np.sqrt(1 / information)  # what is of the order 1 / n in a maximum
    assert z.var(ddof=1) == pytest.approx(1, abs=0.1 + 4.5 * np.sqrt(2 / genes))
    assert np.median(found.curvature[:-1]) == pytest.approx(information, rel=0.1)


@pytest.mark.statistical
def test_batches_with_other_means_are_no_dispersion() -> None:
    rng, genes = np.random.default_rng(1), 60
    parts = [drawn(n, np.full(genes, mean), np.full(genes, 0.3), rng) for n, mean in ((130, 10.0), (170, 40.0))]
    start = np.full(genes + 1, 0.3)
    apart = log_dispersion(parts, start)
    together = log_dispersion([np.concatenate(parts)], start)
    error = np.sqrt(1 / apart.curvature[:-1])
    assert abs(apart.at[:-1].mean()) < 4.5 * error.mean() / np.sqrt(genes) + np.square(error).mean()
    assert together.at[:-1].mean() > 0.5  # the mixture's: 1.3 (1 + 0.36) - 1 = 0.77 instead of 0.3, but for the shape


def test_too_few_cells_say_nothing() -> None:
    found = log_dispersion([np.ones((2, 3), np.int64)], np.full(3, 0.2))
    at, variance = found.estimate(np.ones(3))
    assert not found.at.any() and (at < 0.5).all() and (variance == 1 / LEAST_CURVATURE).all()


@pytest.mark.statistical
@pytest.mark.parametrize("lfc", [-1.0, 0.0, 0.8])
@pytest.mark.parametrize("b", [0.08, 0.4, 2.0])
def test_moved_counts_have_the_new_mean_and_the_new_dispersion(lfc: float, b: float) -> None:
    n, mu, a, rng = 40_000, 5.0, 0.4, np.random.default_rng(2)
    counts = drawn(n, np.array([mu]), np.array([a]), rng)
    rates = np.array([mu / REST, 1 - mu / REST])
    moved = transport(counts, np.array([lfc, 0.0]), rates, rng, np.array([a, 0.01]), np.array([np.log(b / a), 0.0]))
    assert np.array_equal(moved[:, 1], counts[:, 1])  # a gene of which nothing changes
    law = stats.nbinom(1 / b, 1 / (1 + b * mu * np.exp(lfc)))
    edges = np.unique(law.ppf(np.linspace(0, 1, 21)[1:-1]))
    expected = np.diff(np.concatenate([[0], law.cdf(edges), [1]])) * n
    found = np.bincount(np.searchsorted(edges, moved[:, 0]), minlength=len(expected))
    chi2 = float((np.square(found - expected) / expected).sum())
    assert chi2 < stats.chi2.ppf(0.9999, len(expected) - 1)  # one in 10,000 for another seed, nine times
    assert np.corrcoef(moved[:, 0], counts[:, 0])[0, 1] > 0.3  # cells that had much of it still do


def test_small_changes_and_none_move_the_same_bytes() -> None:
    rng = np.random.default_rng(3)
    counts, lfc, rates = rng.poisson(3.0, (50, 8)), rng.normal(size=8), np.full(8, 1 / 8)
    a = np.full(8, 0.3)
    plain, zero, small_change = (
        transport(counts, lfc, rates, np.random.default_rng(4), a, change)
        for change in (None, np.zeros(8), np.full(8, 0.9 * LEAST_CHANGE))
    )
    assert np.array_equal(plain, zero) and np.array_equal(plain, small_change)


GENES, CHANGED, FACTOR = 120, 24, 4.0
A = 0.3


def only_dispersion(factor: float, seed: int = 0, cells: int = 100) -> Experiment:
    """Return an experiment of one type and one drug at 3 doses, which changes the dispersion of the first genes only.

    Half of the genes goes up and half goes down, by `factor`.
    """
    rng = np.random.default_rng(seed)
    mean, a = np.exp(rng.uniform(np.log(4), np.log(40), GENES)), np.full(GENES, A)
    treated = a.copy()
    treated[: CHANGED // 2] *= factor
    treated[CHANGED // 2 : CHANGED] /= factor
    parts = [drawn(3 * cells, mean, a, rng), *(drawn(cells, mean, treated, rng) for _ in range(3))]
    doses = np.repeat([0.0, 1.0, 2.0, 4.0], [3 * cells, cells, cells, cells])
    drugs = np.where(doses > 0, 0, CONTROL)
    genes = tuple(f"gene{g}" for g in range(GENES + 1))
    return Experiment(np.concatenate(parts), np.zeros(6 * cells, np.int64), drugs, doses, ("t",), ("drug",), genes)


@pytest.mark.statistical
def test_observed_changes_have_the_errors_that_are_said_of_them() -> None:
    e = only_dispersion(1.0, seed=5)
    found = observe_dispersions(e, observe(e))
    z = (found.y / np.sqrt(found.variance + found.control_variance))[:, :-1]
    # 120 genes; the 3 doses share the error of the controls, which is a quarter of the whole
    assert np.square(z).mean() == pytest.approx(1, abs=4.5 * np.sqrt(2 / GENES))
    assert abs(z.mean()) < 4.5 / np.sqrt(GENES)


@pytest.mark.statistical
def test_predicted_cells_have_the_planted_dispersion() -> None:
    e = only_dispersion(FACTOR)
    model = DoseCurves().fit(e)
    controls = np.tile(e.controls(0), (4, 1))
    moved = model.predict(controls, 0, 0, 2.0, seed=1)[:, :GENES]
    mean = moved.mean(0)
    found = (moved.var(0, ddof=1) - mean) / mean**2
    planted = A * np.where(np.arange(GENES) < CHANGED // 2, FACTOR, 1 / FACTOR)
    up, down, same = slice(CHANGED // 2), slice(CHANGED // 2, CHANGED), slice(CHANGED, GENES)
    # 300 treated and 300 control cells tell a dispersion to 15% or better each, and so do 300 cells that are moved;
    # means over 12 genes are three times as sure, and shrinkage takes less than a tenth of a change of that size
    assert np.log(found[up] / planted[up]).mean() == pytest.approx(0, abs=4.5 * 0.3 / np.sqrt(12) + 0.1)
    assert found[down].mean() == pytest.approx(A / FACTOR, abs=4.5 * 0.3 * A / np.sqrt(12) + 0.1 * A / FACTOR)
    change = model.dispersion_change(0, 0, 2.0)
    assert change is not None
    assert (np.abs(change[same]) < LEAST_CHANGE).mean() > 0.9
    assert (np.abs(change[:CHANGED] - np.log(planted[:CHANGED] / A)) < 0.7).all()  # 4.5 posterior errors of 0.15


@pytest.mark.statistical
def test_a_drug_without_effects_leaves_controls_as_they_are() -> None:
    e = only_dispersion(1.0, seed=6)
    model = DoseCurves().fit(e)
    controls = e.controls(0)
    change = model.dispersion_change(0, 0, 2.0)
    assert change is not None and (np.abs(change) < LEAST_CHANGE).mean() > 0.97
    alike = model.predict(controls, 0, 0, 2.0, seed=1) == controls
    assert alike[:, :GENES].mean() > 0.9  # means are shrunk to nothing too, but not to a zero


def test_changes_are_a_table_and_are_stored(tmp_path: Path) -> None:
    model = fit(small().to_anndata(), **KEYS)
    table = model.dispersions_of(cell_type="b", drug="drug1", dose=2.0)
    assert list(table.index) == list(model.experiment.genes) and (table["standard_error"] >= 0).all()
    assert table["log_change"].to_numpy() == pytest.approx(model.effects.dispersion_change(1, 1, 2.0))
    save(model, tmp_path / "m")
    again = load(tmp_path / "m").dispersions_of(cell_type="b", drug="drug1", dose=2.0)
    assert again.equals(table)


def test_a_model_that_was_stored_without_dispersions_changes_means_only() -> None:
    model = fit(small().to_anndata(), **KEYS)
    del model.effects.singles.dispersions  # as in a folder of an earlier version
    table = model.dispersions_of(cell_type="b", drug="drug1", dose=2.0)
    assert not table.to_numpy().any()
    assert len(predict(model, cell_type="b", drug="drug1", dose=2.0, n=5)) == 5


def test_what_parts_of_a_combination_do_to_dispersions_adds_up() -> None:
    adata = small().to_anndata()
    obs = adata.obs.copy()
    both = (obs["drug"] == "drug1") & (obs["dose"] == obs["dose"].max())
    obs["drug"] = np.where(both & (np.arange(len(obs)) % 2 == 0), "drug0+drug1", obs["drug"].astype(str))
    adata.obs = obs
    model = fit(adata, **KEYS)
    parts = [model.dispersions_of(cell_type="a", drug=name, dose=1.0) for name in ("drug0", "drug1")]
    total = model.dispersions_of(cell_type="a", drug="drug0+drug1", dose=1.0)
    assert total["log_change"].to_numpy() == pytest.approx(sum(p["log_change"].to_numpy() for p in parts), abs=1e-6)
    squares = sum(np.square(p["standard_error"].to_numpy()) for p in parts)
    assert np.square(total["standard_error"].to_numpy()) == pytest.approx(squares, abs=1e-6)
