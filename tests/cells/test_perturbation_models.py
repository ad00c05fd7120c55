"""Baselines and effects where the answer is known, and scores at both ends of their scale."""

import numpy as np
import pytest
from test_perturbation_world import small

from gendi.data.cells.marginals import Marginals
from gendi.data.cells.perturbation.baselines import (
    BASELINES,
    Additive,
    Control,
    MeanShift,
    NearestDose,
    Ridge,
    ShiftModel,
)
from gendi.data.cells.perturbation.effects import HillEffects, Prior, sufficient
from gendi.data.cells.perturbation.experiment import CONTROL, Experiment
from gendi.data.cells.perturbation.hill import hill
from gendi.data.cells.perturbation.scores import Target, centroid_rank, compute_scores, pearson, scaled, slope
from gendi.data.cells.perturbation.shifts import Shifts, observe, size_factor
from gendi.errors import DataError, UsageError

DOSES = (0.1, 1.0, 10.0)


def exact(effect: np.ndarray, doses: tuple[float, ...] = DOSES, error: float = 1e-4) -> Shifts:
    """Return shifts of `effect` (types, drugs, doses, G) that are all but certain."""
    c, d, x = (index.reshape(-1) for index in np.indices(effect.shape[:3]))
    y = effect.reshape(-1, effect.shape[3])
    rates = np.random.default_rng(3).dirichlet(np.ones(y.shape[1]), len(effect) + 1)
    v = np.full_like(y, error)
    return Shifts(c, d, np.array(doses)[x], y, v, v, Marginals(rates, np.full_like(rates, 0.1)))


def learned(model: ShiftModel, shifts: Shifts) -> ShiftModel:
    types, drugs = int(shifts.types.max()) + 1, int(shifts.drugs.max()) + 1
    names = tuple(map(str, range(types))), tuple(map(str, range(drugs)))
    genes = shifts.y.shape[1]
    model.train = Experiment(
        np.ones((types, genes), np.int64), np.arange(types), np.full(types, CONTROL), np.zeros(types), *names,
        tuple(map(str, range(genes))),
    )  # fmt: skip
    model.shifts = shifts
    model.learn(shifts)
    return model


def without(shifts: Shifts, gone: np.ndarray) -> Shifts:
    parts = {name: getattr(shifts, name)[~gone] for name in ("types", "drugs", "doses", "y", "variance")}
    return Shifts(**parts, control_variance=shifts.control_variance[~gone], marginals=shifts.marginals)


def drug_effects(seed: int = 0, genes: int = 40) -> np.ndarray:
    """Return effects (3 types, 2 drugs, 3 doses, G) that are the same in all types."""
    return np.broadcast_to(np.random.default_rng(seed).normal(size=(2, 3, genes)), (3, 2, 3, genes)).copy()


def test_additive_is_exact_in_an_additive_world() -> None:
    effect = drug_effects()
    shifts = exact(effect)
    model = learned(Additive(), without(shifts, (shifts.types == 0) & (shifts.drugs == 1)))
    for i, x in enumerate(DOSES):
        assert model.lfc(0, 1, x) == pytest.approx(effect[0, 1, i])
    half = np.sqrt(0.1)  # half way between 0.1 and 1 in the log
    assert model.lfc(2, 0, half) == pytest.approx((effect[0, 0, 0] + effect[0, 0, 1]) / 2)
    assert model.lfc(2, 0, 1e3) == pytest.approx(effect[0, 0, 2])  # beyond the doses that were seen: the last


def test_mean_shift_is_exact_where_all_drugs_are_one() -> None:
    one = np.random.default_rng(0).normal(size=20)
    shifts = exact(np.broadcast_to(one, (2, 2, 3, 20)).copy())
    assert learned(MeanShift(), shifts).lfc(0, 1, 5.0) == pytest.approx(one)


def test_nearest_dose_takes_the_pair_then_the_drug() -> None:
    effect = np.random.default_rng(0).normal(size=(2, 1, 3, 20))
    shifts = exact(effect)
    assert learned(NearestDose(), shifts).lfc(1, 0, 2.0) == pytest.approx(effect[1, 0, 1])
    other = learned(NearestDose(), without(shifts, shifts.types == 1))
    assert other.lfc(1, 0, 9.0) == pytest.approx(effect[0, 0, 2])


def test_ridge_is_exact_where_all_is_linear_and_the_penalty_is_small() -> None:
    rng = np.random.default_rng(0)
    t, d, slopes = rng.normal(size=(3, 1, 1, 9)), rng.normal(size=(1, 2, 1, 9)), rng.normal(size=(1, 2, 1, 9))
    shifts = exact(t + d + slopes * np.log(DOSES)[None, None, :, None])
    model = learned(Ridge(1e-9), shifts)
    wanted = (t + d + slopes * np.log(30.0))[2, 1, 0]
    assert model.lfc(2, 1, 30.0) == pytest.approx(wanted, abs=1e-5)
    with pytest.raises(UsageError, match="penalty"):
        Ridge(0.0)


def test_control_moves_nothing_and_every_baseline_is_deterministic() -> None:
    e = small().experiment
    own = e.controls(0)
    for kind in BASELINES:
        model = kind().fit(e)
        moved = model.predict(own, 0, 1, 2.0, 3)
        assert moved.min() >= 0 and moved.shape == own.shape
        assert np.array_equal(moved, model.predict(own, 0, 1, 2.0, 3))
        assert np.array_equal(moved, own) == (kind is Control)


def test_shifts_find_the_truth_of_many_cells() -> None:
    world = small(cells=3000, interacting=0)
    shifts = observe(world.experiment)
    truth = np.stack(
        [world.truth.log_fold(int(c), int(d), float(x)) for c, d, x in zip(shifts.types, shifts.drugs, shifts.doses)]
    )
    # the sum of 3000 draws from the controls has their rates but for v, and for a shrinkage of 1 count in E > 900
    error = np.sqrt(shifts.variance) + 0.01
    assert np.mean(np.abs(shifts.y - truth) < 4.5 * error) > 0.999


def test_size_factor_is_the_median_ratio() -> None:
    expected = np.full(21, 100.0)
    total = expected * 1.5
    total[:5] = 3000.0  # genes that went up do not vote the rest down
    assert size_factor(total, expected) == pytest.approx(1.5)
    assert size_factor(total[:5], expected[:5]) == 1.0


def curve_world(interact: bool, genes: int = 200) -> tuple[Shifts, np.ndarray]:
    """Return shifts by a Hill curve (EC50 1, slope 2), and full effects (types, G): some genes, some in a pair."""
    rng = np.random.default_rng(5)
    a = np.zeros((4, genes))
    a[:, :20] = rng.normal(size=20)
    if interact:
        a[:2, 20:40], a[2:, 40:60] = rng.normal(size=(2, 1, 20))
    doses = (0.1, 0.3, 1.0, 3.0, 10.0)
    effect = a[:, None, None] * hill(doses, 1.0, 2.0)[None, None, :, None]
    shifts = exact(effect + rng.normal(size=effect.shape) * 0.05, doses, 0.05**2)
    rates = shifts.marginals.rates[[0, 0, 1, 1, 4]]  # types 0 and 1 are alike, and 2 and 3
    marginals = Marginals(rates, np.full_like(rates, 0.1))
    return Shifts(**{**vars(shifts), "control_variance": shifts.variance * 1e-6, "marginals": marginals}), a


@pytest.mark.statistical
@pytest.mark.parametrize("interact", [False, True])
def test_effects_find_the_curve_and_the_interactions(interact: bool) -> None:
    shifts, a = curve_world(interact)
    kept = without(shifts, (shifts.types == 0) & (shifts.doses >= 1.0))
    model = learned(HillEffects(), kept)
    wanted = a[0] * hill(3.0, 1.0, 2.0)
    error = np.square(model.lfc(0, 0, 3.0) - wanted).mean()
    additive = np.square(learned(Additive(), kept).lfc(0, 0, 3.0) - wanted).mean()
    # two doses with h = 0.01 and 0.08 say nothing of a gene, its like type does: of r's variance 1 - 0.95^2 is left,
    # and of the additive model's error, which is about half of r, a quarter or more
    assert error < (0.4 if interact else 1.0) * additive
    assert np.abs(model.lfc(0, 0, 3.0)[60:]).mean() < 0.02  # genes that do nothing


@pytest.mark.statistical
def test_a_pair_seen_at_other_doses_has_its_interaction() -> None:
    shifts, a = curve_world(True)
    kept = without(shifts, (shifts.types == 0) & (shifts.doses == 3.0))
    wanted = a[0] * hill(3.0, 1.0, 2.0)
    error = np.square(learned(HillEffects(), kept).lfc(0, 0, 3.0) - wanted).mean()
    main = np.square(learned(HillEffects(interactions=False), kept).lfc(0, 0, 3.0) - wanted).mean()
    assert error < 0.05**2  # less than one observation's error
    assert main > 10 * error


def test_sufficient_statistics_are_those_of_the_full_covariance() -> None:
    shifts = exact(drug_effects(genes=5))
    rng = np.random.default_rng(0)
    shifts.variance[:] = rng.uniform(0.1, 1, shifts.y.shape)
    shifts.control_variance[:] = rng.uniform(0.1, 1, shifts.y.shape)
    s, precision = sufficient(shifts, 1, Prior(1.0, 2.0), 4, 1.3)
    rows = (shifts.drugs == 1) & (shifts.types == 2)
    h = hill(shifts.doses[rows], 1.0, 2.0)
    for g in range(5):
        q = np.sqrt(shifts.control_variance[rows, g])
        sigma = 1.3 * (np.diag(shifts.variance[rows, g]) + np.outer(q, q))
        assert s[2, g] == pytest.approx(h @ np.linalg.solve(sigma, shifts.y[rows, g]))
        assert precision[2, g] == pytest.approx(h @ np.linalg.solve(sigma, h))
    assert not s[3].any() and not precision[3].any()  # a type that never had the drug


def test_what_cannot_be_predicted_is_refused() -> None:
    world = small()
    e = world.experiment
    model = Additive().fit(e.without([(c, 1, x) for c in range(3) for x in np.unique(e.doses)[1:]]))
    own = e.controls(0)
    with pytest.raises(UsageError, match="drug1"):
        model.predict(own, 0, 1, 1.0, 0)
    with pytest.raises(UsageError, match="number 7"):
        model.predict(own, 7, 0, 1.0, 0)
    with pytest.raises(UsageError, match="dose"):
        model.predict(own, 0, 0, -1.0, 0)
    with pytest.raises(UsageError, match="5 genes"):
        model.predict(own[:, :5], 0, 0, 1.0, 0)
    bare = e.rows(~(e.control & (e.types == 1)))
    with pytest.raises(DataError, match="type 'b'"):
        Additive().fit(bare)
    never = bare.rows(bare.types != 1)
    with pytest.raises(DataError, match="type 'b'"):
        Additive().fit(never).predict(own, 1, 0, 1.0, 0)
    for part in (e.rows(e.control), e.rows(~e.control)):
        with pytest.raises(DataError, match="missing"):
            Additive().fit(part)


def target() -> tuple[Target, np.ndarray]:
    world = small(strength=2.0)
    lfc = world.truth.log_fold(1, 0, 10.0)
    control, aside = world.experiment.controls(1), world.aside(1)
    treated = [world.treated(aside, 1, 0, x, 0) for x in (0.1, 10.0)]
    centroids = np.stack([np.log1p(1e4 * k / k.sum(1, keepdims=True)).mean(0) for k in treated])
    return Target(control, treated[1], lfc, centroids, 1), world.treated(control, 1, 0, 10.0, 1)


def test_null_is_0_and_oracle_1() -> None:
    goal, draw = target()
    null, oracle = compute_scores(goal.control, goal), compute_scores(draw, goal)
    assert set(scaled(null, null, oracle).values()) == {0.0}
    assert set(scaled(oracle, null, oracle).values()) == {1.0}
    assert scaled(null, null, null)["energy"] is None
    assert null["pearson"] == 0 and null["slope error"] == 1  # no change at all
    assert oracle["energy"] < null["energy"] and oracle["centroid rank"] == 0 < null["centroid rank"]
    with pytest.raises(DataError, match="at least 2"):
        compute_scores(draw[:1], goal)


def test_scores_are_their_formulas() -> None:
    y = np.array([1.0, -2.0, 0.5])
    kept = np.array([True, True, False])
    assert slope(0.4 * y, y, kept) == pytest.approx(0.4)
    assert slope(y, 0 * y, kept) == 0
    assert pearson(3 * y + 1, y) == pytest.approx(1)
    assert pearson(y, np.ones(3)) == 0
    goal, draw = target()
    assert centroid_rank(goal.control, goal) in (0.0, 1.0)
    assert centroid_rank(draw, goal) == 0
