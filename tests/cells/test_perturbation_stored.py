"""A fitted model as a folder: the same predictions after reading, every byte checked, and no pickle."""

from pathlib import Path

import numpy as np
import pytest
from test_perturbation_world import KEYS, small

from gendi.api.perturbation import Perturbation, effects, fit, load, predict, save
from gendi.cli import main
from gendi.errors import BundleError, UsageError

ASKED = {"cell_type": "b", "drug": "drug1", "dose": 2.0, "seed": 4, "n": 30}


@pytest.fixture(scope="module")
def model() -> Perturbation:
    adata = small().to_anndata()
    adata.var["chromosome"] = "1"
    return fit(adata, **KEYS)


def test_a_model_that_was_read_predicts_the_same_cells(model: Perturbation, tmp_path: Path) -> None:
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    a, b = predict(model, **ASKED), predict(again, **ASKED)
    assert np.array_equal(a.X.toarray(), b.X.toarray())
    assert np.array_equal(a.layers["counts"].toarray(), b.layers["counts"].toarray())
    assert list(b.var["chromosome"]) == ["1"] * 60
    assert effects(model).equals(effects(again))
    treated = ~again.experiment.control
    assert not again.experiment.counts[treated].any()  # they are no part of the model
    assert {path.name for path in (tmp_path / "m").iterdir()} == {
        *("config.json", "model.safetensors", "README.md", "MANIFEST.json")
    }
    save(model, tmp_path / "m")  # replaces it


def test_effects_are_what_the_model_says_at_the_tested_doses(model: Perturbation) -> None:
    table = effects(model, cell_type="b")
    e = model.experiment
    tested = np.unique(e.doses[e.drugs == 1])
    own = table[(table["drug"] == "drug1") & (table["dose"] == tested[0])]
    assert set(table["cell_type"]) == {"b"} and list(own["gene"]) == list(e.genes)
    assert own["log_fold_change"].to_numpy() == pytest.approx(model.effects.lfc(1, 1, float(tested[0])))
    with pytest.raises(UsageError, match="'drug1'"):
        effects(model, drug="drug11")
    assert list(effects(model, cell_type="b", drug="drug1", genes=[e.genes[3]])["gene"].unique()) == [e.genes[3]]
    with pytest.raises(UsageError, match="no gene named"):
        effects(model, genes=["no such gene"])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "README.md"])
def test_a_byte_that_changed_is_found(model: Perturbation, tmp_path: Path, name: str) -> None:
    save(model, tmp_path / "m")
    assert main(["verify", str(tmp_path / "m")]) == 0
    path = tmp_path / "m" / name
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=name):
        load(tmp_path / "m")
    assert main(["verify", str(tmp_path / "m")]) == 4


def test_what_is_no_model_is_said(model: Perturbation, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model of perturbations"):
        load(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else"):
        save(model, tmp_path)


def test_the_commands_fit_and_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    anndata = pytest.importorskip("anndata")
    monkeypatch.chdir(tmp_path)
    small().to_anndata().write_h5ad("drugs.h5ad")
    columns = ["--cell-type", "cell_type", "--drug", "drug", "--dose", "dose", "--control", "control"]
    assert main(["cells", "perturb", "fit", "drugs.h5ad", *columns, "--out", "m"]) == 0
    page = Path("m/report.html").read_text(encoding="utf-8")
    assert "drug0" in page and page.count("<picture>") == 6
    assert Path("m/effects.csv").read_text(encoding="utf-8").startswith("cell_type,drug,dose,gene,log_fold_change")
    assert main(["cells", "perturb", "predict", "m", "--drug", "drug1", "--dose", "2", "--out", "pred.h5ad"]) == 0
    cells = anndata.read_h5ad("pred.h5ad")
    assert set(cells.obs["cell_type"]) == {"a", "b", "c"} and "counts" in cells.layers
    assert cells.obs_names.is_unique
    capsys.readouterr()
    assert main(["cells", "perturb", "predict", "m", "--drug", "drug2", "--dose", "2"]) == 2
    assert "Perhaps you meant" in capsys.readouterr().err
    assert main(["cells", "perturb", "fit", "drugs.h5ad"]) == 2
