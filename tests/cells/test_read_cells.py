"""Counts, conditions and genes of an .h5ad or an AnnData; and every input that is refused, with its mend."""

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from cells_world import cells

import gendi.data.cells
from gendi.data import open_data
from gendi.data.cells.check import check_cells
from gendi.data.cells.demo import SHA256, demo_anndata
from gendi.data.cells.looks import look_at
from gendi.data.cells.read import matched, open_object, open_path
from gendi.data.cells.rows import CountRows
from gendi.errors import DataError, UsageError


def written(adata: Any, tmp_path: Path) -> str:
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path)
    return str(path)


def test_the_demo_data_are_the_known_counts() -> None:
    adata = demo_anndata()
    counts = adata.X.toarray().astype("<i4")
    assert adata.shape == (700, 765) and adata.X.nnz == 174_400
    assert hashlib.sha256(counts.tobytes()).hexdigest() == SHA256
    data = open_data("cells:pbmc68k")
    spec = next(spec for spec in data.conditions if spec.name == "bulk_labels")
    assert (len(data.train) + len(data.heldout), spec.size) == (700, 10) and "CD14+ Monocyte" in spec.names
    # scanpy's authors counted over all genes, of which these are some
    assert (counts.sum(1) <= adata.obs["n_counts"] + 0.5).all()


@pytest.mark.parametrize("backed", ["no", "yes"])
@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_rows_are_the_counts_wherever_they_lie(form: str, backed: str, tmp_path: Path) -> None:
    adata = cells()
    counts = adata.X.toarray()
    adata.X = {"csr": adata.X, "csc": sp.csc_matrix(adata.X), "dense": counts}[form]
    loaded = open_path(written(adata, tmp_path), {"backed": backed})
    index = np.array([7, 3, 3, 59])
    np.testing.assert_array_equal(loaded.rows[index], counts[index])
    np.testing.assert_array_equal(loaded.rows[2:5], counts[2:5])
    np.testing.assert_array_equal(loaded.rows[4], counts[4])
    assert loaded.rows.shape == counts.shape and loaded.schema["genes"] == list(adata.var_names)


def test_conditions_have_names_categories_and_numbers() -> None:
    adata = cells()
    loaded = open_object(adata)
    specs = {spec.name: spec for spec in loaded.specs}
    assert specs.keys() == {"cell-type", "dose", "batch", "depth"}
    assert specs["cell-type"].names == ("B", "A"), "in the order of the categories, without those that no cell has"
    np.testing.assert_array_equal(loaded.conditions["cell-type"], (np.arange(60) % 3 == 0).astype(int))
    assert (specs["batch"].kind, specs["batch"].names) == ("class", ("0", "1"))
    np.testing.assert_allclose(loaded.conditions["dose"], adata.obs["dose"], rtol=1e-6)
    np.testing.assert_array_equal(loaded.conditions["depth"], np.asarray(adata.X.sum(1)).ravel())
    assert loaded.schema["obs"]["cell-type"] == "cell type"
    assert loaded.schema["colors"] == {"cell type": ["#ff0000", "#00ff00"]}, "each category keeps its own colour"


def test_what_is_no_condition_is_left_out_and_said() -> None:
    adata = cells()
    adata.obs["barcode"] = [f"AC{i}" for i in range(60)]
    adata.obs["mixed"] = pd.Series([1, "a"] * 30, index=adata.obs_names, dtype=object)
    adata.obs["truths"] = pd.Series([True, "a"] * 30, index=adata.obs_names, dtype=object)
    adata.obs["x"] = 1.0  # a name of the samplers' own: names are data, and any will do
    loaded = open_object(adata)
    assert "x" in loaded.conditions
    assert loaded.left_out.keys() == {"barcode", "mixed", "truths"} and "bool and str" in loaded.left_out["truths"]
    assert "60 different texts" in loaded.left_out["barcode"] and "mixes" in loaded.left_out["mixed"]
    assert "no condition is made of" in loaded.notes[0]


def test_a_missing_category_is_null() -> None:
    adata = cells()
    adata.obs.loc["cell4", "cell type"] = np.nan
    assert open_object(adata).conditions["cell-type"][4] == -1


@pytest.mark.parametrize(("dtype", "kind"), [("Int64", "class"), ("boolean", "class"), ("Float64", "value")])
def test_a_missing_number_is_null(dtype: str, kind: str) -> None:
    adata = cells()
    column = pd.Series(np.arange(60) % 2, index=adata.obs_names).astype(dtype)
    column.iloc[4] = pd.NA
    adata.obs["given"] = column
    loaded = open_object(adata)
    assert next(spec for spec in loaded.specs if spec.name == "given").kind == kind
    rows = loaded.conditions["given"]
    np.testing.assert_array_equal(np.delete(rows, 4), np.delete(np.arange(60) % 2, 4))
    assert rows[4] == -1 if kind == "class" else np.isnan(rows[4])


def test_a_layer_of_counts_that_holds_none_is_passed_over_aloud() -> None:
    adata = cells()
    adata.layers["counts"] = adata.X.log1p()
    loaded = open_object(adata)
    assert loaded.schema["layer"] == "X" and "looks log1p" in loaded.notes[0] and "taken from X" in loaded.notes[0]


def test_numbers_stored_as_objects_are_refused_with_their_mend() -> None:
    adata = cells()
    adata.layers["counts"] = adata.X.toarray().astype(object)
    del adata.X
    with pytest.raises(DataError, match=r"counts looks text \(its type is object\).*astype\(numpy.int32\)"):
        open_object(adata)


def test_counts_are_found_in_the_order_that_is_promised() -> None:
    adata = cells()
    counts = adata.X.copy()
    adata.layers["counts"] = counts + counts
    assert open_object(adata).schema["layer"] == "counts"
    adata.layers["spliced"] = counts
    assert open_object(adata).schema["layer"] == "counts"
    del adata.layers["counts"]
    assert open_object(adata).schema["layer"] == "X"
    adata.raw = adata.copy()
    adata.X = counts.log1p()
    assert open_object(adata).schema["layer"] == "raw"


@pytest.mark.parametrize("backed", ["no", "yes"])
@pytest.mark.parametrize("form", ["csr", "dense"])
def test_raw_counts_are_found_after_genes_were_selected(form: str, backed: str, tmp_path: Path) -> None:
    adata = cells()
    counts = adata.X.toarray()
    adata.X = counts if form == "dense" else adata.X
    adata.raw = adata.copy()
    chosen = [7, 2, 9, 0]
    adata.X = np.log1p(counts)
    adata = adata[:, chosen].copy()
    loaded = open_path(written(adata, tmp_path), {"backed": backed})
    np.testing.assert_array_equal(loaded.rows[np.array([5, 2, 2])], counts[[5, 2, 2]][:, chosen])
    np.testing.assert_array_equal(loaded.rows[3:6], counts[3:6][:, chosen])
    assert loaded.schema["layer"] == "raw" and loaded.schema["genes"] == [f"gene{i}" for i in chosen]
    assert "of its 12 genes, the 4 that were selected" in loaded.notes[0]
    np.testing.assert_array_equal(loaded.conditions["depth"], counts[:, chosen].sum(1))
    adata.var_names = ["other", *adata.var_names[1:]]
    with pytest.raises(DataError, match="no integer counts"):
        open_object(adata)


def test_a_column_called_depth_does_not_stand_for_the_sum_of_counts() -> None:
    adata = cells()
    depth = np.asarray(adata.X.sum(1)).ravel()
    adata.obs["depth"] = depth + 0.001
    loaded = open_object(adata)
    assert loaded.schema["sum_of_counts"] == "depth" and not loaded.notes, "it is the sum"
    for column, first in ((np.log(depth), f"{np.log(depth[0]):,.6g}"), (["low", "high"] * 30, "'low'")):
        adata.obs["depth"] = column
        loaded = open_object(adata)
        assert loaded.schema["sum_of_counts"] == "counts-depth" and loaded.schema["obs"]["depth"] == "depth"
        np.testing.assert_array_equal(loaded.conditions["counts-depth"], depth)
        assert f"obs['depth'] is not the sum of a cell's counts ({first} for the first" in loaded.notes[0]
        assert any("obs['depth'] is not the sum" in problem.what for problem in check_cells(adata).problems)
    adata.obs["counts-depth"] = 1.5
    loaded = open_object(adata)
    np.testing.assert_array_equal(loaded.conditions[loaded.schema["sum_of_counts"]], depth)


def test_setup_is_remembered_with_the_data(tmp_path: Path) -> None:
    adata = cells()
    adata.layers["umi"] = adata.X.copy()
    adata.X = adata.X.log1p()
    gendi.data.cells.setup_anndata(adata, layer="umi", labels_key="cell type", batch_key="batch")
    loaded = open_path(written(adata, tmp_path), {})
    assert loaded.schema["layer"] == "umi" and [spec.name for spec in loaded.specs][:2] == ["cell-type", "batch"]
    with pytest.raises(UsageError, match=r"cell_type.*cell type"):
        gendi.data.cells.setup_anndata(adata, labels_key="cell_type")
    with pytest.raises(UsageError, match="umi"):
        gendi.data.cells.setup_anndata(adata, layer="ummi")
    adata.obs["mixed"] = pd.Series([1, "a"] * 30, index=adata.obs_names, dtype=object)
    with pytest.raises(DataError, match=r"obs\['mixed'\].*it mixes int and str.*astype\(str\)"):
        gendi.data.cells.setup_anndata(adata, layer="umi", labels_key="mixed")
    adata.uns["gendi_setup"] = "{"
    with pytest.raises(DataError, match="setup_anndata again"):
        open_object(adata)


def test_genes_are_matched_by_name() -> None:
    adata = cells()
    genes = list(adata.var_names)
    found = matched(CountRows(adata.X), genes, genes[::-1])
    np.testing.assert_array_equal(found, adata.X.toarray()[:, ::-1])
    with pytest.raises(DataError, match=r"2 of the model's 14 genes are missing.*other1, other2"):
        matched(CountRows(adata.X), genes, [*genes, "other1", "other2"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: np.log1p(x), "log1p"),
        (lambda x: (x - x.mean(0)) / x.std(0), "scaled"),
        (lambda x: x / x.sum(1, keepdims=True) * 1e4, "normalised"),
        (lambda x: np.where(np.arange(x.size).reshape(x.shape) == 5, np.nan, x), "not finite"),
        (lambda x: np.where(np.arange(x.size).reshape(x.shape) == 5, np.inf, x), "not finite"),
        (lambda x: np.where(np.arange(x.size).reshape(x.shape) == 5, -1, x), "negative"),
    ],
)
def test_what_are_no_counts_is_named(change: Any, said: str) -> None:
    adata = cells()
    adata.X = change(adata.X.toarray().astype(np.float64))
    with pytest.raises(DataError, match=said):
        open_object(adata)
    assert said in str(look_at(adata.X))
    adata.layers["umi"] = cells().X
    with pytest.raises(DataError, match="--layer umi"):
        open_object(adata)


def test_one_bad_count_far_down_is_found() -> None:
    adata = cells(n=1500)
    counts = adata.X.toarray()
    counts[1400, 3] = 2.5
    adata.X = counts
    with pytest.raises(DataError, match=r"2.5 for gene 'gene3' in cell 'cell1400', which is not a whole number"):
        open_object(adata)


def test_refusals(tmp_path: Path) -> None:
    adata = cells()
    empty = adata.copy()
    empty.X = sp.csr_matrix(np.where(np.arange(60)[:, None] == 8, 0, empty.X.toarray()))
    with pytest.raises(DataError, match=r"1 cells have no counts.*cell8.*filter_cells"):
        open_object(empty)
    twice = adata.copy()
    twice.var_names = ["gene1", *twice.var_names[1:]]
    with pytest.raises(DataError, match=r"gene1.*var_names_make_unique"):
        open_object(twice)
    with pytest.raises(DataError, match="0 cells and 12 genes"):
        open_object(adata[:0].copy())
    with pytest.raises(DataError, match="60 cells and 0 genes"):
        open_object(adata[:, :0].copy())
    with pytest.raises(DataError, match="There is no file"):
        open_path(str(tmp_path / "none.h5ad"), {})
    (tmp_path / "text.h5ad").write_text("no hdf5")
    with pytest.raises(DataError, match="could not be read as an .h5ad"):
        open_path(str(tmp_path / "text.h5ad"), {})
    whole = Path(written(adata, tmp_path)).read_bytes()
    (tmp_path / "half.h5ad").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="could not be read as an .h5ad"):
        open_path(str(tmp_path / "half.h5ad"), {})
    with pytest.raises(UsageError, match="'layer'"):
        open_path("pbmc68k", {"layr": "X"})
    with pytest.raises(UsageError, match="X"):
        open_path("pbmc68k", {"layer": "counts"})
    with pytest.raises(UsageError, match="yes or no"):
        open_path("pbmc68k", {"backed": "maybe"})
    bare = adata.copy()
    bare.X = None
    with pytest.raises(DataError, match="no matrix at all"):
        open_object(bare)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(UsageError, match=r'cells need anndata: pip install "gendi\[cells\]"'):
        open_path("pbmc68k", {})
