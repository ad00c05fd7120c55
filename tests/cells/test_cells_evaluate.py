"""Cells against held-out cells: what an AnnData must have, how genes and classes are matched, and real counts."""

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from gendi.cli.evaluate import main
from gendi.data.cells.evaluate import evaluate
from gendi.data.codec import Codec
from gendi.data.dataset import Data
from gendi.data.split import Split
from gendi.diffusion.config import ConditionConfig
from gendi.errors import DataError, UsageError
from gendi.evaluate.result import Evaluation
from gendi.evaluate.vectors import metrics

ad = pytest.importorskip("anndata")
pd = pytest.importorskip("pandas")

GENES = [f"gene{j}" for j in range(25)]
TYPES = ("B cell", "T cell")


def counts(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([3, seed])
    labels = (np.arange(n) % 2).astype(np.int64)
    rate = np.exp(np.linspace(-1, 1, 25) + 0.8 * labels[:, None] * (np.arange(25) < 8)) * rng.lognormal(0, 0.3, (n, 1))
    return rng.poisson(rng.gamma(4, rate / 4)).astype(np.int32), labels


def real() -> Data:
    (a, la), (b, lb) = counts(90, 1), counts(60, 2)
    spec = ConditionConfig("cell_type", "class", 2, names=TYPES)
    return Data(
        name="blood",
        spec="cells:blood.h5ad",
        train=Split(a, {"cell_type": la}),
        heldout=Split(b, {"cell_type": lb}),
        conditions=(spec,),
        fingerprint="f" * 64,
        codec=cast(Codec, None),
        skipped=(),
        notes=(),
        kind="cells",
        schema={"genes": GENES, "obs": {"cell_type": "cell_type"}},
    )


def cells(n: int = 50, seed: int = 3) -> Any:
    rows, labels = counts(n, seed)
    obs = pd.DataFrame({"cell_type": pd.Categorical.from_codes(labels, TYPES)}, index=[f"c{i}" for i in range(n)])
    return ad.AnnData(np.log1p(rows.astype(np.float32)), obs, pd.DataFrame(index=GENES), layers={"counts": rows})


@pytest.fixture(autouse=True)
def no_forest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "JUDGES", metrics.JUDGES[1:])
    monkeypatch.setattr("gendi.evaluate.vectors.rows.SPLITS", 3)


def test_cells_are_measured_with_classes_zeros_and_depth() -> None:
    found = evaluate(cells(), real(), n=50, seed=1, source={"by": "hand"})
    assert found.n == 50 and found.reference_split == "heldout" and found.data == "blood"
    assert found.source == {"by": "hand"} and found.fingerprint == "f" * 64
    for name in ("tstr", "fold-change-slope", "depth", "zero-fraction", "energy", "copies"):
        assert found[name].value is not None, name
    assert found["copies"].value == 0


def test_genes_are_matched_by_name_in_any_order_and_sparse_or_from_a_file(tmp_path: Path) -> None:
    from scipy.sparse import csr_matrix

    straight = evaluate(cells(), real(), n=30)
    order = np.random.default_rng(0).permutation(25)
    turned = cells()[:, order].copy()
    turned.layers["counts"] = csr_matrix(turned.layers["counts"])
    turned.write_h5ad(tmp_path / "fake.h5ad")
    assert evaluate(turned, real(), n=30).metrics == straight.metrics
    assert evaluate(tmp_path / "fake.h5ad", real(), n=30).metrics == straight.metrics


def test_training_cells_handed_out_again_are_copies() -> None:
    data = real()
    fake = cells(90, 1)
    assert np.array_equal(fake.layers["counts"], data.train.rows)
    found = evaluate(fake, data, n=50)
    assert found["copies"].value == 1.0 and found["copies"].passed is False


def test_cells_without_the_column_of_classes_are_measured_without_them() -> None:
    fake = cells()
    del fake.obs["cell_type"]
    found = evaluate(fake, real(), n=40)
    assert "tstr" not in {m.name for m in found.metrics}
    assert any("have no labels" in note for note in found.notes)
    unlabelled = dataclasses.replace(real(), conditions=())
    assert not any("have no labels" in note for note in evaluate(fake, unlabelled, n=40).notes)


def test_a_class_without_samples_is_named() -> None:
    fake = cells()[np.arange(0, 50, 2)].copy()
    found = evaluate(fake, real(), n=20)
    assert any("no sample (T cell)" in note for note in found.notes)
    assert found["tstr"].value is None


def spoil(kind: str) -> Any:
    fake = cells()
    if kind == "log":
        del fake.layers["counts"]
    elif kind == "negative":
        fake.layers["counts"][3, 4] = -2
    elif kind == "nan":
        fake.layers["counts"] = fake.layers["counts"].astype(np.float32)
        fake.layers["counts"][0, 1] = np.nan
    elif kind == "genes":
        fake = fake[:, :20].copy()
    elif kind == "class":
        fake.obs["cell_type"] = "NK cell"
    return fake


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("log", "X holds .* numbers that are not counts, such as .* An evaluation needs whole numbers"),
        ("negative", r"layers\['counts'\] holds 1 numbers that are not counts, such as -2 in cell 3, gene 'gene4'"),
        ("nan", "such as nan in cell 0, gene 'gene1'"),
        ("genes", "5 of the model's 25 genes are missing in these cells, the first are gene20"),
        ("class", "'NK cell', which is not a class of the data; the classes are B cell, T cell"),
    ],
)
def test_samples_that_are_no_such_cells_are_refused(kind: str, text: str) -> None:
    with pytest.raises(DataError, match=text):
        evaluate(spoil(kind), real())


def test_a_file_that_is_not_there_or_no_h5ad_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no file"):
        evaluate(tmp_path / "none.h5ad", real())
    (tmp_path / "text.h5ad").write_text("hello")
    with pytest.raises(DataError, match=r"could not be read as an \.h5ad"):
        evaluate(tmp_path / "text.h5ad", real())


def test_the_command_measures_a_file_of_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = ad.concat([cells(120, 1), cells(90, 2)], index_unique="-")
    both.X = both.layers["counts"].astype(np.float32)
    both.write_h5ad(tmp_path / "real.h5ad")
    cells().write_h5ad(tmp_path / "fake.h5ad")
    out = tmp_path / "found.json"
    asked = ["--samples", str(tmp_path / "fake.h5ad"), "--data", f"cells:{tmp_path / 'real.h5ad'}", "--out", str(out)]
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "worst control" in said and "gates passed" in said
    found = Evaluation.from_dict(json.loads(out.read_text()))
    assert found["tstr"].value is not None and found.portrait is not None
    assert found.n == min(50, found.reference_n) and str(found.n) in said
    with pytest.raises(UsageError, match="--extractor is for pictures"):
        main([*asked, "--extractor", "pixels"])
