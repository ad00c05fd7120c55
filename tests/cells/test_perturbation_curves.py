"""Dose curves without a form, where the truth is known; kinship, held-out doses, warnings, and the move of counts."""

from copy import copy
from functools import cache

import numpy as np
import pytest
from test_perturbation_models import exact, learned, without
from test_perturbation_predict import KEYS, small

from gendi.api.perturbation import fit, predict
from gendi.data.cells.perturbation.baselines import Additive, Interpolation, ShrunkInterpolation
from gendi.data.cells.perturbation.curves import Curves
from gendi.data.cells.perturbation.dose_curves import Check, DoseCurves, held_doses
from gendi.data.cells.perturbation.kinship import kinship_of, shares_of_others
from gendi.data.cells.perturbation.shifts import Shifts, observe
from gendi.data.cells.perturbation.transport import transport
from gendi.data.cells.perturbation.worlds import WORLDS, invent
from gendi.errors import UsageError

DOSES = (0.1, 0.3, 1.0, 3.0, 10.0)
ERROR = 0.05


def profiled(profile: list[float], seed: int = 0, genes: int = 100) -> tuple[Shifts, np.ndarray]:
    """Return shifts of 2 drugs on 4 types that respond alike by a profile over doses, and full effects (drugs, G)."""
    rng = np.random.default_rng(seed)
    full = np.zeros((2, genes))
    full[:, :30] = rng.normal(size=(2, 30))
    effect = np.broadcast_to(full[None, :, None] * np.array(profile)[None, None, :, None], (4, 2, 5, genes))
    shifts = exact(effect + ERROR * rng.normal(size=effect.shape), DOSES, ERROR**2)
    return Shifts(**{**vars(shifts), "control_variance": shifts.variance * 1e-6}), full


BIPHASIC = (0.0, 0.5, 1.0, 0.5, 0.0)


@cache
def without_a_dose(profile: tuple[float, ...]) -> tuple[DoseCurves, np.ndarray]:
    """Return the model fitted without dose 1.0 of drug 0 in type 0, and the full effects."""
    shifts, full = profiled(list(profile))
    held = (shifts.types == 0) & (shifts.drugs == 0) & (shifts.doses == 1.0)
    return learned(DoseCurves(), without(shifts, held)), full


@pytest.mark.statistical
@pytest.mark.parametrize("profile", [BIPHASIC, (0.0, 0.0, 1.0, 1.0, 1.0), (1.0, 1.0, 0.2, -1.0, -1.0)])
def test_a_profile_of_any_form_is_found(profile: tuple[float, ...]) -> None:
    model, full = without_a_dose(profile)
    off = model.lfc(0, 0, 1.0) - profile[2] * full[0]
    # the other three types tell the effect at this dose to 0.05 / sqrt(3), if a gene is known to be alike;
    # straight lines would be off by half a step of the threshold, 0.5 times the effect
    assert np.sqrt(np.square(off[:30]).mean()) < 1.5 * ERROR
    assert np.sqrt(np.square(off[30:]).mean()) < ERROR / 2  # genes that do nothing
    if profile[-1] != 1.0:  # what no Hill curve can follow
        parametric = model.hill.lfc(0, 0, 1.0) - profile[2] * full[0]
        assert np.square(parametric).mean() > 2 * np.square(off).mean()


@pytest.mark.statistical
def test_standard_errors_are_those_of_the_errors_made() -> None:
    model, full = without_a_dose(BIPHASIC)
    z = (model.lfc(0, 0, 1.0) - full[0])[:30] / model.standard_error(0, 0, 1.0)[:30]
    # of 30 genes 95% lie within 1.96: 28.5 +- 1.2; errors are those of the gene's size, so a few less may do
    assert (np.abs(z) < 1.96).sum() >= 24
    assert model.standard_error(0, 0, 1.0)[:30].mean() < 2 * ERROR


def test_a_type_that_never_had_a_drug_gets_the_mean_of_the_others() -> None:
    shifts, full = profiled([0.1, 0.3, 0.6, 0.9, 1.0])
    model = learned(DoseCurves(), without(shifts, (shifts.types == 3) & (shifts.drugs == 1)))
    others = np.mean([model.lfc(c, 1, 3.0) for c in range(3)], axis=0)
    assert model.lfc(3, 1, 3.0) == pytest.approx(others, abs=0.05)  # the weights are nearly equal
    assert np.sqrt(np.square(model.lfc(3, 1, 3.0) - 0.9 * full[1])[:30].mean()) < ERROR


def test_curves_are_straight_between_doses_and_proportional_below() -> None:
    mean = np.array([[[1.0], [2.0], [4.0]]], np.float32)
    curves = Curves(np.array([1.0, 10.0, 100.0]), mean, mean / 10, np.array([[1.0, 100.0]]))
    assert curves.lfc(0, 10.0) == pytest.approx(2)
    assert curves.lfc(0, np.sqrt(1000)) == pytest.approx(3)
    assert curves.lfc(0, 1e6) == pytest.approx(4)
    assert curves.lfc(0, 0.25) == pytest.approx(0.25)
    assert curves.standard_error(0, 10.0) == pytest.approx(0.2)


def test_kinship_is_the_correlation_of_responses() -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(size=(2, 40, 1, 300))  # types 0 and 1 are the same, and 2 is another one
    effect = np.concatenate([own[:1], own[:1], own[1:]])
    k = kinship_of(exact(effect, (1.0,), 1e-8), 3, 1.0)
    assert np.diag(k) == pytest.approx(1) and k == pytest.approx(k.T)
    common = 1 / 3  # of the three pairs, one has 1 and the others 0
    assert k[0, 1] == pytest.approx((40 * 0.98 + 12 * common) / 52, abs=0.03)
    assert k[0, 2] == pytest.approx(12 * common / 52, abs=0.03)
    assert shares_of_others(k, np.array([0, 2]), 1) == pytest.approx([1, 0], abs=0.15)
    assert shares_of_others(np.eye(3), np.array([0, 2]), 1) == pytest.approx([0.5, 0.5])


def test_held_doses_are_inner_ones_and_one_of_each_pair() -> None:
    shifts = exact(np.zeros((2, 2, 5, 4)), DOSES)
    for fold in (0, 1):
        gone = held_doses(shifts, fold)
        assert len({(shifts.types[i], shifts.drugs[i]) for i in gone}) == len(gone) == 4
        assert set(shifts.doses[gone]) <= {0.3, 1.0, 3.0}
    assert not set(held_doses(shifts, 0)) & set(held_doses(shifts, 1))
    assert not len(held_doses(exact(np.zeros((2, 2, 2, 4)), (1.0, 2.0)), 0))


def test_held_out_doses_choose_the_curve() -> None:
    assert max(without_a_dose(BIPHASIC)[0].weights.values()) < 0.2  # no Hill curve comes and goes


def test_a_model_that_loses_to_straight_lines_says_so() -> None:
    drugs = np.array([0] * 4 + [1] * 4)
    lines = np.full(8, 2.0)
    check = Check(drugs, np.array([3.0, 3.1, 2.9, 3.0, 1.0, 3.0, 1.5, 2.5]), lines)
    assert check.worse(0) == pytest.approx(0.5)
    assert check.worse(1) is None and check.worse(7) is None
    model = copy(without_a_dose(BIPHASIC)[0])
    assert not model.warnings()
    model.check_of_doses = check
    assert len(model.warnings()) == 1 and "'0'" in model.warnings()[0] and "50% larger" in model.warnings()[0]


def test_a_curve_at_the_edge_of_its_grid_says_so() -> None:
    model = copy(without_a_dose((0.0, 0.0, 1.0, 1.0, 1.0))[0])  # a step, which wants a larger slope than any tried
    model.weights = dict.fromkeys(model.weights, 1.0)
    assert all("edge" in text and "more doses" in text for text in model.warnings()) and len(model.warnings()) == 2
    model.weights = dict.fromkeys(model.weights, 0.0)
    assert not model.warnings()


@pytest.mark.filterwarnings("ignore:The dose curve", "ignore:At held-out doses")
def test_doses_outside_the_tested_ones_are_warned_about_and_effects_have_errors() -> None:
    model = fit(small().to_anndata(), **KEYS)
    with pytest.warns(UserWarning, match="3 times the largest tested dose of 'drug1', 10"):
        high = predict(model, cell_type="b", drug="drug1", dose=30.0)
    with pytest.warns(UserWarning, match="2 times smaller than the smallest"):
        predict(model, cell_type="b", drug="drug1", dose=0.05)
    assert high.n_obs == 15
    table = model.effects_of(cell_type="b", drug="drug1", dose=3.0)
    assert list(table.columns) == ["log_fold_change", "standard_error"] and list(table.index) == list(
        model.experiment.genes
    )
    assert (table["standard_error"] >= 0).all()
    with pytest.raises(UsageError, match="drug1"):
        model.effects_of(cell_type="b", drug="drug9", dose=3.0)


def test_interpolation_is_exact_on_straight_lines_and_shrinks_to_the_additive_model() -> None:
    slopes = np.random.default_rng(0).normal(size=(3, 1, 1, 500))
    shifts = exact(np.broadcast_to(slopes * np.log(DOSES)[None, None, :, None], (3, 1, 5, 500)).copy(), DOSES)
    kept = without(shifts, (shifts.types == 0) & (shifts.doses == 3.0))
    model = learned(Interpolation(), kept)
    assert model.lfc(0, 0, 3.0) == pytest.approx(slopes[0, 0, 0] * np.log(3.0))
    pair = without(shifts, shifts.types == 0)
    assert learned(Interpolation(), pair).lfc(0, 0, 2.0) == pytest.approx(learned(Additive(), pair).lfc(0, 0, 2.0))
    assert learned(ShrunkInterpolation(), kept).lfc(0, 0, 3.0) == pytest.approx(model.lfc(0, 0, 3.0), abs=0.01)
    noisy = Shifts(**{**vars(kept), "variance": kept.variance * 1e6})  # errors of 10: no difference from additive shows
    additive = learned(Additive(), noisy).lfc(0, 0, 3.0)
    assert learned(ShrunkInterpolation(), noisy).lfc(0, 0, 3.0) == pytest.approx(additive)


@pytest.mark.statistical
@pytest.mark.parametrize("fold", [0.4, 3.0])
def test_moved_counts_stay_negative_binomial(fold: float) -> None:
    rng, n, mean, a = np.random.default_rng(0), 40_000, 6.0, 0.5
    counts = rng.poisson(mean * rng.gamma(1 / a, a, (n, 2)))
    counts[:, 1] = 100 - counts[:, 0]  # depth 100 for all
    moved = transport(counts, np.log([fold, 1.0]), np.array([mean / 100, 0.94]), rng, np.array([a, 0.0]))[:, 0]
    variance = fold * mean + a * (fold * mean) ** 2
    assert moved.mean() == pytest.approx(fold * mean, abs=4 * np.sqrt(variance / n))
    assert moved.var() == pytest.approx(variance, rel=4 * np.sqrt(9 / n))  # the kurtosis of this count is below 8


@pytest.mark.statistical
@pytest.mark.parametrize("name", WORLDS)
def test_invented_cells_have_the_means_that_the_world_says(name: str) -> None:
    world = invent(name, 0, types=2, drugs=2, genes=150, cells=3, controls=4)
    rng = np.random.default_rng(1)
    control, treated = world.controls(1, 4000, rng, world.batch_of(1)), world.treated(1, 1, 3.0, 4000, rng)
    shares = world.rates[1] * np.exp(world.batch[world.batch_of(1)])
    for cells, change in ((control, 0.0), (treated, world.log_fold(1, 1, 3.0))):
        wanted = 1500 * np.exp(0.35**2 / 2) * shares * np.exp(change)
        error = cells.std(0) / np.sqrt(4000)
        assert (np.abs(cells.mean(0) - wanted) < 5 * error + 1e-9).all()  # 150 genes at 5 errors: 1e-4
    assert len(world.experiment) == 2 * 4 + 2 * 2 * 5 * 3
    assert np.array_equal(
        world.experiment.counts, invent(name, 0, types=2, drugs=2, genes=150, cells=3, controls=4).experiment.counts
    )


def test_an_unknown_world_is_named() -> None:
    with pytest.raises(UsageError, match="biphasic"):
        invent("biphasik", 0)


@pytest.mark.statistical
def test_cells_are_compared_with_controls_of_their_batch() -> None:
    world = invent("batch", 0, types=1, drugs=2, genes=150, cells=400, controls=1600)
    told = observe(world.experiment)
    parts = {
        name: getattr(world.experiment, name)
        for name in ("counts", "types", "drugs", "doses", "type_names", "drug_names", "genes")
    }
    untold = observe(type(world.experiment)(**parts))
    own = np.flatnonzero(told.drugs == 1)
    truth = np.stack([world.log_fold(0, 1, float(x)) for x in told.doses[own]])
    error = np.sqrt(told.variance[own] + told.control_variance[own]) + 0.02
    assert np.mean(np.abs(told.y[own] - truth) < 4 * error) > 0.98
    assert np.square(untold.y[own] - truth).mean() > 2 * np.square(told.y[own] - truth).mean()
