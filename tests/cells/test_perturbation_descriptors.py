"""Drugs that no cell had: effects that are linear in descriptors are predicted, and shuffled descriptors say so."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_perturbation_models import exact, learned

from gendi.api.perturbation import Perturbation, fit, load, predict, save
from gendi.cli import main
from gendi.data.cells.perturbation.descriptors import Descriptors, read_descriptors
from gendi.data.cells.perturbation.dose_curves import DoseCurves
from gendi.data.cells.perturbation.scores import pearson
from gendi.data.cells.perturbation.unseen import Unseen, best_penalty, fit_unseen, weights_of
from gendi.errors import DataError, UsageError

KNOWN, HELD, GENES, SIZE, ERROR = 40, 12, 150, 16, 0.2


@cache
def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return descriptors (n, 16), the true effects (n, G), linear in them, and those that a model learned of some."""
    rng = np.random.default_rng(4)
    z = rng.normal(size=(KNOWN + HELD, SIZE))
    effects = z @ (rng.normal(size=(SIZE, GENES)) / 4 * (rng.random(GENES) < 0.4))
    observed = effects[None, :KNOWN, None] + ERROR * rng.normal(size=(1, KNOWN, 1, GENES))
    shifts = exact(observed, (1.0,), ERROR**2)
    curves = learned(DoseCurves(), type(shifts)(**vars(shifts) | {"control_variance": shifts.variance * 1e-4}))
    return z, effects, np.stack([curves.lfc(0, d, 1.0) for d in range(KNOWN)])


def fitted(z: np.ndarray) -> Unseen:
    table = Descriptors(tuple(map(str, range(len(z)))), tuple(map(str, range(SIZE))), z)
    return fit_unseen(table, list(range(KNOWN)), list(range(KNOWN)), world()[2], (1, GENES))


def of_held_out(model: Unseen) -> float:
    _, truth, known = world()
    return float(np.mean([pearson(model.weights(i) @ known, truth[i]) for i in range(KNOWN, KNOWN + HELD)]))


@pytest.mark.statistical
def test_effects_that_are_linear_in_descriptors_are_predicted() -> None:
    model = fitted(world()[0])
    # 40 drugs give 16 coefficients, so about 1 - 16 / 40 of the squares of a new drug is explained if there is no noise
    assert of_held_out(model) >= 0.5
    own, mean = model.quality()
    assert own.interval is not None and own.interval[0] > 0.4 and own.value > mean.value + 0.3
    assert own.value == pytest.approx(of_held_out(model), abs=0.15)  # what it says of itself is true
    assert model.warning() is None


@pytest.mark.statistical
def test_shuffled_descriptors_say_nothing_and_the_model_says_so() -> None:
    z = world()[0]
    shuffled = [fitted(np.random.default_rng(seed).permutation(z)) for seed in range(6)]
    assert np.mean([of_held_out(model) for model in shuffled]) <= 0.1
    # each is at the edge of 95% in one of twenty fits
    assert sum("Do not rely" in (model.warning() or "") for model in shuffled) >= 5


def test_weights_are_those_of_ridge_regression() -> None:
    rng = np.random.default_rng(0)
    z, new, y = rng.normal(size=(12, 3)), rng.normal(size=3), rng.normal(size=(12, 5))
    centred = z - z.mean(0)
    b = np.linalg.solve(centred.T @ centred + 12 * 0.3 * np.eye(3), centred.T @ (y - y.mean(0)))
    assert weights_of(z, new, 0.3) @ y == pytest.approx(y.mean(0) + (new - z.mean(0)) @ b)
    assert weights_of(z, new, 1e12) == pytest.approx(1 / 12)  # the mean effect


def test_the_penalty_is_the_best_one_for_drugs_left_out() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(size=(15, 4))
    y = z @ rng.normal(size=(4, 6)) + 0.8 * rng.normal(size=(15, 6))

    def left_out(penalty: float) -> float:
        keep = [np.arange(15) != i for i in range(15)]
        # lambda is D times the penalty, and D is 15 with all drugs, also where one is left out
        wrong = (y[i] - weights_of(z[k], z[i], penalty * 15 / 14) @ y[k] for i, k in enumerate(keep))
        return float(sum(np.square(part).sum() for part in wrong))

    chosen = best_penalty(z, y @ y.T)
    assert left_out(chosen) <= min(left_out(chosen * 10), left_out(chosen / 10))


def test_tables_are_read_and_what_is_wrong_is_named(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    path = tmp_path / "table.csv"
    path.write_text("drug,weight,rings\na,1,2\nb,3,4.5\n")
    table = read_descriptors(path, {})
    assert table is not None and table.names == ("a", "b") and table.columns == ("weight", "rings")
    assert table.values.tolist() == [[1, 2], [3, 4.5]]
    vectors = read_descriptors(None, {"descriptors": {"a": [1.0, 2.0], "b": np.array([3.0, 4.5])}})
    assert vectors is not None and np.array_equal(vectors.values, table.values)
    assert read_descriptors(None, {}) is None
    for text, said in (
        ("drug,weight\na,1\na,2\n", "'a' twice"),
        ("drug,weight\na,\nb,2\n", "'a' in the column 'weight' is missing"),
        ("drug,weight\na,heavy\n", "'weight' is heavy"),
        ("drug\na\n", "first column"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=said):
            read_descriptors(str(path), {})
    with pytest.raises(UsageError, match="no such file"):
        read_descriptors(tmp_path / "none.csv", {})
    with pytest.raises(DataError, match="2 to 3 numbers"):
        read_descriptors({"a": [1, 2], "b": [1, 2, 3]}, {})
    with pytest.raises(UsageError, match="not a list"):
        read_descriptors(pandas.DataFrame({"x": [1.0]}).to_numpy().tolist(), {})


def screen() -> tuple[Any, Any]:
    """Return an AnnData of knock-outs of 8 genes, and a table that has two more and lacks one."""
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    rng = np.random.default_rng(8)
    names = [f"g{i}" for i in range(8)]
    z = rng.normal(size=(10, 2))
    lfc = np.vstack([np.zeros(30), z[:8] @ rng.normal(size=(2, 30)) / 2])
    rates = rng.gamma(2.0, 4.0, 30) + 1
    gene = np.repeat(["control", *names], 40)
    counts = rng.poisson(np.repeat(rates * np.exp(lfc), 40, axis=0)).astype(np.float32)
    obs = pandas.DataFrame({"gene": gene}, index=[f"cell{i}" for i in range(len(gene))])
    table = pandas.DataFrame(z, index=[*names, "new1", "new2"], columns=["x", "y"])
    return anndata.AnnData(counts, obs=obs), table.drop(index="g3")


@pytest.fixture(scope="module")
def model() -> Perturbation:
    adata, table = screen()
    with pytest.warns(UserWarning, match="no row for 'g3'"):
        return fit(adata, drug="gene", descriptors=table)


def test_unseen_drugs_go_through_files(model: Perturbation, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"No cell had 'new1' alone.* correlated at"):
        cells = predict(model, drug="new1", n=10)
    assert set(cells.obs["gene"]) == {"new1"}
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.effects_of(drug="new1").equals(model.effects_of(drug="new1"))
    assert (model.effects_of(drug="new1")["standard_error"] > 0).all()
    both = model.effects_of(drug="new1+g0")["log_fold_change"]
    parts = [model.effects_of(drug=name)["log_fold_change"] for name in ("new1", "g0")]
    assert both.to_numpy() == pytest.approx((parts[0] + parts[1]).to_numpy())
    more = again.with_descriptors(_late())
    assert np.isfinite(more.effects_of(drug="late")["log_fold_change"]).all()
    assert more.effects_of(drug="new1").equals(model.effects_of(drug="new1"))


def _late() -> Any:
    return pytest.importorskip("pandas").DataFrame({"y": [30.0], "x": [30.0]}, index=["late"])


def test_what_is_unknown_or_far_is_said(model: Perturbation) -> None:
    with pytest.raises(UsageError, match=r"with cells or descriptors named 'new3'\. Perhaps you meant 'new"):
        predict(model, drug="new3")
    far = model.with_descriptors(_late())
    with pytest.warns(UserWarning, match="times as far from the nearest known drug"):
        predict(far, drug="late", n=5)
    with pytest.raises(UsageError, match="the columns weight"):
        model.with_descriptors(_late().rename(columns={"x": "weight"})[["weight"]])
    adata, table = screen()
    with pytest.raises(DataError, match="0 of the 8 drugs of the data have descriptors"):
        fit(adata, drug="gene", descriptors=table.rename(index=str.upper))
    with pytest.raises(UsageError, match="fitted without descriptors"):
        fit(adata, drug="gene").with_descriptors(table)


def test_the_commands_read_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gendi.report.perturbation.MOST_DRUGS", 1)  # figures take time
    adata, table = screen()
    adata.write_h5ad("screen.h5ad")
    table.to_csv("table.csv")
    _late().to_csv("late.csv")
    asked = ["cells", "perturb", "fit", "screen.h5ad", "--drug", "gene", "--descriptors"]
    assert main([*asked, "table.csv", "--out", "m"]) == 0
    said = capsys.readouterr()
    assert "left out correlate at" in said.out and "no row for 'g3'" in said.err
    assert "Drugs that no cell had" in Path("m/report.html").read_text(encoding="utf-8")
    assert main(["cells", "perturb", "predict", "m", "--drug", "new2", "--n", "5"]) == 0
    assert main(["cells", "perturb", "predict", "m", "--drug", "late", "--n", "5"]) == 2
    assert main(["cells", "perturb", "predict", "m", "--drug", "late", "--n", "5", "--descriptors", "late.csv"]) == 0
    assert main([*asked, "none.csv", "--out", "m2"]) == 2
    assert "no such file of descriptors" in capsys.readouterr().err
