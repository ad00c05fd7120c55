"""Scores of predictions: definitions by other means, references by hand, what changes nothing, and what a mean wins."""

from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.linear_model import Ridge

from gendi import cells as public
from gendi.data.cells.scoring import Scores, score
from gendi.data.cells.scoring.groups import Group
from gendi.data.cells.scoring.inputs import Condition
from gendi.data.cells.scoring.intervals import interval_of
from gendi.data.cells.scoring.metrics import Truth, changed_genes, correlation, measure
from gendi.data.cells.scoring.references import reference_shifts
from gendi.data.cells.scoring.wins import verdict

KEYS = {"control": "control", "perturbation": "drug"}
GENES = 40


def frame(x: Any, drug: Any, **columns: Any) -> Any:
    obs = pd.DataFrame({"drug": drug, **columns}, index=[f"c{i}" for i in range(len(x))])
    return anndata.AnnData(np.asarray(x), obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(np.shape(x)[1])]))


def random_logs(seed: int, n: int = 400) -> Any:
    """Return random log-normalised cells of six perturbations, controls and two types."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 1_000_000, (n, GENES)).astype(float)
    drugs = rng.choice(["control", *(f"p{i}" for i in range(6))], n)
    return frame(np.log1p(x / x.sum(1, keepdims=True) * 1e4), drugs, type=rng.choice(["a", "b"], n))


def planted(seed: int, cells: int = 60, drugs: int = 6, shared: float = 0.0, which: bool = True) -> Any:
    """Return counts of drugs that each change five genes of their own by a factor of 3, and all of them five others by
    exp(shared); without `which`, nothing of its own.
    """
    rng = np.random.default_rng(seed)
    rates = np.random.default_rng(99).gamma(2.0, 3.0, GENES) + 1
    parts, names = [rng.poisson(rates, (2 * cells, GENES))], ["control"] * 2 * cells
    for d in range(drugs):
        own = rates.copy()
        if which:
            own[5 * d : 5 * d + 5] *= 3.0
        own[30:35] *= np.exp(shared)
        parts.append(rng.poisson(own, (cells, GENES)))
        names += [f"p{d}"] * cells
    return frame(np.concatenate(parts), names)


@pytest.mark.parametrize("by_type", [False, True])
def test_mae_and_pearson_are_those_of_cell_eval(by_type: bool) -> None:
    """The definitions of the package cell-eval: means of each perturbation, absolute error, correlation of changes."""
    predicted, real = random_logs(1), random_logs(2)
    found = score(predicted, real, **KEYS, cell_type="type" if by_type else None)
    assert len(found.conditions) == (12 if by_type else 6)
    for i, condition in enumerate(found.conditions):

        def mean(adata: Any, drug: str, cell_type: str = condition.cell_type) -> Any:
            rows = (adata.obs["drug"] == drug) & (not by_type or adata.obs["type"] == cell_type)
            return adata.X[rows.to_numpy()].mean(axis=0)

        drug = condition.perturbation
        mae = np.mean(np.abs(mean(predicted, drug) - mean(real, drug)))
        deltas = [mean(adata, drug) - mean(adata, "control") for adata in (predicted, real)]
        assert found.each["prediction"]["mae"][i] == pytest.approx(mae, abs=1e-6)
        assert found.each["prediction"]["pearson"][i] == pytest.approx(stats.pearsonr(*deltas)[0], abs=1e-6)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("drugs", [2, 6])
def test_doubling_predicted_and_real_controls_changes_nothing(drugs: int, interleaved: bool) -> None:
    predicted, real = planted(1, drugs=drugs), planted(2, drugs=drugs)

    def doubled(adata: Any, rows: Any) -> Any:
        order = np.flatnonzero(rows)
        twice = np.repeat(order, 2) if interleaved else np.tile(order, 2)
        order = np.concatenate([twice, np.flatnonzero(~rows)])
        return frame(adata.X[order], adata.obs["drug"].to_numpy()[order])

    control = [adata.obs["drug"].to_numpy() == "control" for adata in (predicted, real)]
    before = score(predicted, real, **KEYS).to_dict()
    for after in (
        score(doubled(predicted, control[0]), doubled(real, control[1]), **KEYS),
        score(doubled(predicted, np.ones(len(predicted), bool)), doubled(real, control[1]), **KEYS),
        score(scaled(predicted), scaled(real), **KEYS),
    ):
        assert after.to_dict() | {"notes": []} == before | {"notes": []}
        assert any("2 times" in note for note in after.notes) or after.cells == tuple(before["cells"].values())


def scaled(adata: Any) -> Any:
    """Return cells sequenced twice as deeply."""
    out = adata.copy()
    out.X = 2 * out.X
    return out


def test_a_second_file_of_real_cells_scores_like_the_ceiling_and_a_mean_does_not_know_the_drug() -> None:
    found = score(planted(1), planted(2), **KEYS)
    value = {model: {m: s.value for m, s in of.items()} for model, of in found.scores.items()}
    for metric, least in (("pearson-changed", 0.9), ("slope", 0.9), ("overlap", 0.7)):
        assert value["prediction"][metric] > least
        assert value["ceiling"][metric] > least
    assert abs(value["prediction"]["energy"]) < 0.1 * value["control"]["energy"]
    assert abs(value["ceiling"]["energy"]) < 0.1 * value["control"]["energy"]
    assert value["prediction"]["rank"] == value["ceiling"]["rank"] == 0
    assert value["training mean"]["rank"] > 0.4
    assert value["training mean"]["pearson-changed"] < 0.1  # the drugs have no gene in common
    assert "better than the training mean in pearson, pearson-changed, slope, overlap" in found.explanation[0]


def test_where_all_drugs_do_the_same_the_mean_wins_and_it_says_why() -> None:
    found = score(planted(1, cells=20, shared=1.0, which=False), planted(2, cells=20, shared=1.0, which=False), **KEYS)
    text = "\n".join(found.explanation)
    assert "training mean is better than the prediction in" in text
    assert "mae" in text.partition("better than the prediction in")[2].splitlines()[0]
    assert "Why pearson" in text and "correlation of 0.9" in text
    assert "Why mae" in text and "leave one out" in text


def test_ranks_are_among_all_real_conditions_of_the_type() -> None:
    """One drug of six is predicted, by the cells of another: its rank is counted among the five that were not."""
    predicted, real = planted(1), planted(2)
    rows = (predicted.obs["drug"] == "p1").to_numpy()
    found = score(frame(predicted.X[rows], np.full(int(rows.sum()), "p0")), real, **KEYS)

    def mean(counts: Any, rows: Any) -> Any:
        return np.log1p(1e4 * counts[rows] / counts[rows].sum(1, keepdims=True)).mean(0)

    drug = real.obs["drug"].to_numpy()
    guess = mean(predicted.X, rows)
    far = {name: np.linalg.norm(guess - mean(real.X, drug == name)) for name in set(drug) - {"control"}}
    wanted = np.mean([far[name] < far["p0"] for name in far if name != "p0"])
    assert found.scores["prediction"]["rank"].value == pytest.approx(wanted)
    assert wanted >= 0.2
    assert found.scores["ceiling"]["rank"].value == 0


@pytest.mark.parametrize("metric", ["energy", "mmd"])
def test_nothing_is_better_than_a_distance_that_chance_explains(metric: str) -> None:
    near, nearer, far = ([np.array([base + 0.01 * i]) for i in range(8)] for base in (-0.03, -0.5, 0.4))
    assert verdict({metric: near}, {metric: nearer}, metric) == verdict({metric: nearer}, {metric: near}, metric)
    assert verdict({metric: near}, {metric: nearer}, metric) == "tie"
    assert verdict({metric: far}, {metric: near}, metric) == "worse"
    assert verdict({metric: near}, {metric: far}, metric) == "better"


def test_changed_genes_are_those_of_welchs_test_and_benjamini_hochberg() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (30, 200)), rng.normal(0, 0.5, (50, 200))
    x[:, :40] += 1.5
    p = stats.ttest_ind(np.expm1(x), np.expm1(y), equal_var=False).pvalue
    wanted = stats.false_discovery_control(p, method="bh") <= 0.05
    assert 10 < wanted.sum() < 60
    assert np.array_equal(changed_genes(group(x), group(y)), wanted)


def group(x: Any) -> Group:
    n = len(x)
    plain = np.expm1(x)
    moments = [part for each in (x, plain) for part in (each.mean(0)[None], each.var(0, ddof=1)[None])]
    return Group(n, *moments[:2], x, np.ones((1, n)), *moments[2:])


@pytest.mark.statistical
def test_depth_alone_changes_no_gene() -> None:
    rng, genes = np.random.default_rng(3), 600
    rates = rng.gamma(0.7, 1.0, genes)
    depths = np.repeat([1500.0, 3000.0], [150, 300])[:, None] * np.exp(0.3 * rng.normal(size=(450, 1)))
    noise = rng.gamma(1 / 0.3, 0.3, (450, genes))
    real = frame(rng.poisson(depths * rates / rates.sum() * noise), ["p"] * 150 + ["control"] * 300)
    logs = np.log1p(1e4 * real.X / real.X.sum(1, keepdims=True))
    # none of 600 is called with probability 95%, and skewed counts make it a few; a tenth and more are on logarithms
    assert changed_genes(group(logs[:150]), group(logs[150:])).mean() < 0.02
    logs = logs[:, logs.any(0)]
    p = stats.ttest_ind(logs[:150], logs[150:], equal_var=False).pvalue
    assert (stats.false_discovery_control(p) <= 0.05).mean() > 0.1


def test_every_metric_is_its_formula() -> None:
    rng = np.random.default_rng(1)
    u, v, x, y = (rng.normal(0, 1, (12, 30)) + rng.normal(0, 1, 30) for _ in range(4))
    changed = np.arange(30) < 8
    others = rng.normal(0, 1, (5, 30))
    found = {
        k: float(value[0])
        for k, value in measure(group(x), group(u), Truth(group(y), group(v), changed, others, 3.0)).items()
    }
    shift, true = x.mean(0) - u.mean(0), y.mean(0) - v.mean(0)
    assert found["pearson-changed"] == pytest.approx(stats.pearsonr(shift[:8], true[:8])[0])
    assert found["slope"] == pytest.approx(np.linalg.lstsq(true[:8, None], shift[:8], rcond=None)[0][0])
    t = np.abs(stats.ttest_ind(np.expm1(x), np.expm1(u), equal_var=False).statistic)
    assert found["overlap"] == pytest.approx(len(set(np.argsort(-t)[:8]) & set(range(8))) / 8)
    near = np.linalg.norm(shift - true)
    assert found["rank"] == pytest.approx(np.mean([np.linalg.norm(shift - other) < near for other in others]))

    def discrepancy(k: Any) -> float:
        within = [k(cdist(z, z))[~np.eye(12, dtype=bool)].mean() for z in (x, y)]
        return sum(within) - 2 * k(cdist(x, y)).mean()

    assert found["energy"] == pytest.approx(discrepancy(lambda d: -d))
    assert found["mmd"] == pytest.approx(discrepancy(lambda d: np.exp(-(d**2) / 18)))


def test_a_prediction_of_one_cell_is_a_point() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 1, (1, 6)), rng.normal(0, 1, (20, 6))
    found = measure(
        Group(1, x, np.zeros((1, 6)), x, np.ones((1, 1)), np.expm1(x), np.zeros((1, 6))),
        group(y),
        Truth(group(y), group(y), np.zeros(6, bool), np.zeros((0, 6)), 1.0),
    )
    wanted = 2 * cdist(x, y).mean() - cdist(y, y)[~np.eye(20, dtype=bool)].mean()
    assert found["energy"][0] == pytest.approx(wanted, abs=1e-6)
    assert np.isnan(found["overlap"][0]) and np.isnan(found["rank"][0])


def conditions() -> dict[Condition, Any]:
    rng = np.random.default_rng(3)
    every = [Condition(t, d, x) for t in "abc" for d in ("p", "q") for x in (0.1, 1.0, 10.0)]
    return {condition: rng.normal(0, 1, 7) for condition in every}


@pytest.mark.parametrize("one_out", [False, True])
def test_ridge_is_that_of_scikit_learn(one_out: bool) -> None:
    shifts = conditions()
    scored = list(shifts) if one_out else [Condition("a", "p", 1.0), Condition("b", "q", 10.0)]
    found, said = reference_shifts(shifts, scored)
    assert said is one_out
    every = list(shifts)
    known = every if one_out else [k for k in every if k not in scored]
    logs = np.log([k.dose for k in known])

    def features(k: Condition) -> Any:
        t = np.array([k.cell_type == each for each in "abc"], float)
        d = np.array([k.perturbation == each for each in "pq"], float)
        dose = (np.log(k.dose) - logs.mean()) / logs.std()
        return np.concatenate([t, d, d * dose, np.outer(t, d).ravel()])

    for condition in scored[:4]:
        train = [k for k in known if k != condition]
        x, y = np.stack([features(k) for k in train]), np.stack([shifts[k] for k in train])
        fitted = Ridge(alpha=1.0, fit_intercept=False).fit(x, y)
        assert found["ridge"][condition] == pytest.approx(fitted.predict(features(condition)[None])[0], abs=1e-9)


def test_the_other_references_are_made_as_they_say() -> None:
    shifts = conditions()
    asked = Condition("a", "p", 1.0)
    found, _ = reference_shifts(shifts, [asked])
    others = [k for k in shifts if k.cell_type == "a" and k != asked]
    assert found["training mean"][asked] == pytest.approx(np.mean([shifts[k] for k in others], axis=0))
    additive = (shifts[Condition("b", "p", 1.0)] + shifts[Condition("c", "p", 1.0)]) / 2
    assert found["additive"][asked] == pytest.approx(additive)
    between = (shifts[Condition("a", "p", 0.1)] + shifts[Condition("a", "p", 10.0)]) / 2  # 1 is halfway in the log
    assert found["interpolation"][asked] == pytest.approx(between)
    alone = {k: shift for k, shift in shifts.items() if k.cell_type == "a" and k.dose == 1.0}
    assert set(reference_shifts(alone, [asked])[0]) == {"control", "training mean"}


@pytest.mark.statistical
def test_an_interval_over_conditions_is_that_of_a_mean() -> None:
    values = np.random.default_rng(0).normal(3, 2, 40)
    low, high = interval_of([np.array([v]) for v in values]) or (0, 0)
    half = 1.96 * values.std() / np.sqrt(40)
    # 2,000 draws know a quantile of the normal distribution to 0.06 standard errors; three of them
    assert low == pytest.approx(values.mean() - half, abs=0.2 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.2 * half)


@pytest.mark.statistical
def test_an_interval_over_cells_has_the_width_that_fresh_cells_show() -> None:
    """The slope of one drug over 40 fresh pairs of files has the spread that one pair's interval tells, within 40%: a
    standard deviation of 40 is known to 11%, and that of 200 draws to 5%.
    """
    found = [
        score(planted(2 * s, 30, 1), planted(2 * s + 1, 30, 1), **KEYS).scores["prediction"]["slope"] for s in range(40)
    ]
    spread = np.std([each.value for each in found], ddof=1)
    assert all(each.interval is None or each.interval[0] < (each.value or 0) < each.interval[1] for each in found)
    overlap = score(planted(0, 30, 1), planted(1, 30, 1), **KEYS).scores["prediction"]["overlap"]
    assert overlap.interval is not None and overlap.interval[1] <= 1
    widths = [each.interval[1] - each.interval[0] for each in found if each.interval is not None]
    assert np.mean(widths) / (2 * 1.96) == pytest.approx(spread, rel=0.4)


def test_it_is_a_public_function_with_tables() -> None:
    found = public.score(planted(1), planted(2), **KEYS)
    assert isinstance(found, Scores)
    table = found.frame()
    assert list(table.columns[:4]) == ["cell_type", "perturbation", "dose", "model"]
    assert len(table) == 6 * len(found.scores)
    assert "pearson-changed" in repr(found) and "<table>" in found._repr_html_()


def test_correlation_of_no_change_is_zero() -> None:
    assert correlation(np.zeros((1, 5)), np.arange(5.0)[None])[0] == 0
