"""Perturbations without doses, such as knocked-out genes: the planted effects are found, and nobody speaks of doses."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gendi.api.perturbation import Perturbation, effects, fit, load, predict, save
from gendi.cli import main
from gendi.errors import DataError, UsageError

GENES, CELLS, CONTROLS = 80, 60, 300


def screen() -> tuple[Any, np.ndarray]:
    """Return an AnnData of Poisson counts under knock-outs of 4 genes, and their log-fold changes (4, G)."""
    anndata, pandas = pytest.importorskip("anndata"), pytest.importorskip("pandas")
    rng = np.random.default_rng(3)
    rates = rng.gamma(2.0, 4.0, GENES) + 1
    lfc = np.where(rng.random((4, GENES)) < 0.2, rng.choice([-1.0, 1.0], (4, GENES)), 0.0)
    means = np.repeat(rates * np.exp(np.vstack([np.zeros(GENES), lfc])), [CONTROLS] + [CELLS] * 4, axis=0)
    gene = np.repeat(["non-targeting", "KLF1", "GATA1", "MYC", "none"], [CONTROLS] + [CELLS] * 4)
    obs = pandas.DataFrame({"gene": gene}, index=[f"cell{i}" for i in range(len(gene))])
    var = pandas.DataFrame(index=[f"g{i}" for i in range(GENES)])
    return anndata.AnnData(rng.poisson(means).astype(np.float32), obs=obs, var=var), lfc


@pytest.fixture(scope="module")
def model() -> Perturbation:
    return fit(screen()[0], drug="gene")


@pytest.mark.statistical
def test_effects_are_the_planted_ones_within_their_errors(model: Perturbation) -> None:
    lfc = screen()[1]
    for name, truth in zip(("KLF1", "GATA1", "MYC", "none"), lfc, strict=True):
        found = model.effects_of(drug=name)
        z = (found["log_fold_change"] - truth) / np.maximum(found["standard_error"], 0.01)
        # of 80 genes 95% lie within 1.96 errors: 76 +- 1.9; errors of shrunken genes are those of a mixture
        assert (np.abs(z) < 1.96).sum() >= 70
        # a mean of 5 in 60 cells is known to 1 / sqrt(300) = 0.06; shrinkage adds little to effects of 1
        assert np.sqrt(np.square(found["log_fold_change"] - truth).mean()) < 0.08


def test_cells_and_tables_have_no_doses(model: Perturbation, tmp_path: Path) -> None:
    cells = predict(model, drug="KLF1", n=20)
    assert list(cells.obs.columns) == ["gene", "source"] and set(cells.obs["gene"]) == {"KLF1"}
    assert list(effects(model).columns) == ["cell_type", "drug", "gene", "log_fold_change", "low", "high"]
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert effects(again).equals(effects(model)) and not again.experiment.dosed
    assert np.array_equal(predict(again, drug="KLF1", n=20).X.toarray(), cells.X.toarray())
    assert "dose" not in (tmp_path / "m" / "README.md").read_text(encoding="utf-8")


def test_what_cannot_be_asked_is_said(model: Perturbation) -> None:
    with pytest.raises(UsageError, match=r"no perturbation named 'GATA'\. Perhaps you meant 'GATA1'"):
        predict(model, drug="GATA")
    with pytest.raises(UsageError, match="dose = 2.0 has no meaning"):
        predict(model, drug="GATA1", dose=2.0)
    adata, _ = screen()
    adata.obs["gene"] = adata.obs["gene"].replace({"non-targeting": "safe"})
    with pytest.raises(UsageError, match="which cells are controls"):
        fit(adata, drug="gene")
    adata.obs.loc[adata.obs_names[:100], "gene"] = "control"
    adata.obs.loc[adata.obs_names[100:200], "gene"] = "NTC"
    with pytest.raises(UsageError, match="both 'NTC' and 'control'"):
        fit(adata, drug="gene")
    with pytest.raises(UsageError, match="Perhaps you meant 'gene'"):
        fit(adata, drug="genes")
    two_types, _ = screen()
    two_types.obs["type"] = np.where(np.arange(two_types.n_obs) % 2, "B", "T")
    with pytest.raises(UsageError, match="there are 'B', 'T'"):
        predict(fit(two_types, drug="gene", cell_type="type"), drug="MYC")


def test_cells_of_a_donor_are_made_of_its_controls(model: Perturbation) -> None:
    adata, _ = screen()
    control = (adata.obs["gene"] == "non-targeting").to_numpy()
    adata.obs["donor"] = np.where(control & (np.arange(adata.n_obs) < 40), "ann", "bob")
    adata.obs.loc[adata.obs_names[-1], "donor"] = "eve"
    of_donors = fit(adata, drug="gene", batch="donor")
    drawn = predict(of_donors, drug="MYC", batch="ann")
    assert drawn.n_obs == 40 and set(drawn.obs["donor"]) == {"ann"}
    assert "donor" not in predict(of_donors, drug="MYC", n=3).obs
    with pytest.raises(UsageError, match=r"no batch named 'anne'\. Perhaps you meant 'ann'"):
        predict(of_donors, drug="MYC", batch="anne")
    with pytest.raises(DataError, match="'eve' has no control cell .* Batches that have some: 'ann', 'bob'"):
        predict(of_donors, drug="MYC", batch="eve")
    with pytest.raises(UsageError, match="fitted without batches"):
        predict(model, drug="MYC", batch="ann")


def test_a_forgotten_column_of_doses_is_noticed() -> None:
    adata, _ = screen()
    adata.obs["Dose"] = np.arange(adata.n_obs) % 3
    with pytest.warns(UserWarning, match=r'obs\["Dose"\] looks like doses'):
        fit(adata, drug="gene")


def test_the_commands_need_no_doses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    adata = screen()[0]
    adata[adata.obs["gene"].isin(["non-targeting", "MYC"])].copy().write_h5ad("screen.h5ad")
    assert main(["cells", "perturb", "fit", "screen.h5ad", "--drug", "gene"]) == 0
    said = capsys.readouterr()
    assert "1 perturbation, 1 type" in said.out and "called 'non-targeting'" in said.out
    assert "dose" not in (said.out + said.err).lower()
    page = Path("runs/screen-perturbation/report.html").read_text(encoding="utf-8")
    assert page.count("<picture>") == 3 and "dose" not in re.sub('base64,[^"]*"', "", page).lower()
    assert main(["cells", "perturb", "predict", "runs/screen-perturbation", "--drug", "MYC"]) == 0
    assert "300 cells" in capsys.readouterr().out  # as many as there are controls
    assert main(["cells", "perturb", "predict", "runs/screen-perturbation", "--drug", "MYC", "--dose", "1"]) == 2
    assert "no meaning" in capsys.readouterr().err
