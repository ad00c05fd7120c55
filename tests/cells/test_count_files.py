"""Counts from texts, from matrices and HDF5 files of 10x, and from normalised expression."""

import gzip
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scanpy as sc
import scipy.io
import scipy.sparse as sp
from cells_world import cells

import gendi.cells
from gendi.cli import main
from gendi.data.cells.demo import demo_anndata
from gendi.data.cells.read import open_path
from gendi.data.cells.recover import recovered
from gendi.data.kinds import find_kind
from gendi.errors import DataError, UsageError


def counts_of(adata: Any) -> Any:
    return adata.X.toarray().astype(int)


def write_10x(folder: Path, zipped: bool, before: str = "", transposed: bool = False) -> Any:
    """Write the small world as a folder of 10x, with an antibody and two genes of one symbol."""
    adata = cells()
    folder.mkdir(exist_ok=True)
    symbols = ["twin", "twin", *adata.var_names[2:]]
    kinds = ["Gene Expression"] * 11 + ["Antibody Capture"]
    features = "".join(f"ENSG{i}\t{s}\t{k}\n" for i, (s, k) in enumerate(zip(symbols, kinds, strict=True)))
    barcodes = "".join(f"{name}-1\n" for name in adata.obs_names)
    for name, text in (("features.tsv", features), ("barcodes.tsv", barcodes)):
        path = folder / f"{before}{name}{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    plain = folder / f"{before}matrix.mtx"
    matrix = sp.coo_matrix(counts_of(adata).astype(np.int32))
    scipy.io.mmwrite(plain, matrix if transposed else matrix.T)
    if zipped:
        Path(f"{plain}.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return counts_of(adata)[:, :11]


@pytest.mark.parametrize(("zipped", "transposed"), [(True, False), (False, False), (False, True)])
def test_a_folder_of_10x_has_cells_as_rows_and_genes_alone(zipped: bool, transposed: bool, tmp_path: Path) -> None:
    counts = write_10x(tmp_path / "filtered", zipped, transposed=transposed)
    for place in (tmp_path / "filtered", tmp_path / "filtered" / f"matrix.mtx{'.gz' if zipped else ''}"):
        assert find_kind(str(place)).name == "cells"
        loaded = open_path(str(place), {})
        np.testing.assert_array_equal(loaded.rows[np.arange(60)], counts)
        assert loaded.schema["genes"][:3] == ["twin", "twin-1", "gene2"] and len(loaded.schema["genes"]) == 11
        assert loaded.schema["var"]["gene_ids"][:2] == ["ENSG0", "ENSG1"]


def test_scanpy_reads_the_same_folder(tmp_path: Path) -> None:
    counts = write_10x(tmp_path, True)
    np.testing.assert_array_equal(counts_of(sc.read_10x_mtx(tmp_path))[:, :11], counts)


def test_files_with_a_sample_in_their_names_are_found_together(tmp_path: Path) -> None:
    counts = write_10x(tmp_path, True, before="GSM1_")
    loaded = open_path(str(tmp_path / "GSM1_matrix.mtx.gz"), {})
    np.testing.assert_array_equal(loaded.rows[np.arange(60)], counts)
    (tmp_path / "GSM1_barcodes.tsv.gz").unlink()
    with pytest.raises(DataError, match=r"no GSM1_barcodes.tsv beside it, so its cells have no names"):
        open_path(str(tmp_path / "GSM1_matrix.mtx.gz"), {})
    (tmp_path / "GSM1_barcodes.tsv.gz").write_bytes(gzip.compress(b"one\n"))
    with pytest.raises(DataError, match="12 rows and 60 columns, but there are 12 genes and 1 cells"):
        open_path(str(tmp_path / "GSM1_matrix.mtx.gz"), {})


@pytest.mark.parametrize("new", [True, False])
def test_an_hdf5_file_of_10x_is_read_as_scanpy_reads_it(new: bool, tmp_path: Path) -> None:
    adata, path = cells(), tmp_path / "raw.h5"
    names, matrix = np.array(list(adata.var_names), "S"), sp.csr_matrix(counts_of(adata))
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if new else "hg19")
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(matrix, part)
        group["shape"], group["barcodes"] = [12, 60], np.array(list(adata.obs_names), "S")
        if new:
            group["features/id"], group["features/name"], group["features/genome"] = names, names, ["hg19"] * 12
            group["features/feature_type"] = ["Gene Expression"] * 11 + ["Peaks"]
        else:
            group["genes"], group["gene_names"] = names, names
    theirs = sc.read_10x_h5(path)
    loaded = open_path(str(path), {})
    assert find_kind(str(path)).name == "cells" and loaded.schema["genes"] == list(theirs.var_names)
    np.testing.assert_array_equal(loaded.rows[np.arange(60)], counts_of(theirs))
    with h5py.File(path, "w") as file:
        file["weights"] = [1.0]
    with pytest.raises(DataError, match="no file of 10x"):
        open_path(str(path), {})
    path.write_text("no hdf5")
    with pytest.raises(DataError, match="could not be read as counts"):
        open_path(str(path), {})


@pytest.mark.parametrize("ending", ["csv", "tsv.gz", "csv with semicolons"])
def test_a_text_has_a_line_for_each_cell_and_texts_are_conditions(ending: str, tmp_path: Path) -> None:
    adata = cells()
    table = adata.to_df().astype(int)
    table.insert(3, "cell type", list(adata.obs["cell type"]))
    path = tmp_path / f"counts.{ending.split()[0]}"
    table.to_csv(path, sep="\t" if "tsv" in ending else ";" if "semi" in ending else ",")
    loaded = open_path(str(path), {})
    np.testing.assert_array_equal(loaded.rows[np.arange(60)], counts_of(adata))
    assert loaded.schema["genes"] == list(adata.var_names) and loaded.specs[0].names == ("A", "B")
    adata.to_df().T.to_csv(tmp_path / "turned.csv")
    turned = open_path(str(tmp_path / "turned.csv"), {"transpose": "yes"})
    np.testing.assert_array_equal(turned.rows[np.arange(60)], counts_of(adata))
    (tmp_path / "words.csv").write_text("cell,type\na,b\n")
    with pytest.raises(DataError, match="no column of numbers"):
        open_path(str(tmp_path / "words.csv"), {})
    (tmp_path / "head.csv").write_text("cell,gene\n")
    with pytest.raises(DataError, match="no line of counts"):
        open_path(str(tmp_path / "head.csv"), {})
    with pytest.raises(UsageError, match="transpose = 'true' must be yes or no"):
        open_path(str(path), {"transpose": "true"})


@pytest.mark.parametrize("target", [1e4, None, 1e6])
@pytest.mark.parametrize("logarithm", [True, False])
def test_counts_come_back_from_normalised_expression(target: float | None, logarithm: bool) -> None:
    """The oracle are the counts themselves, normalised by scanpy; counts of a cell that share a divisor lose it."""
    adata = cells(n=200, genes=60)
    counts = counts_of(adata)
    counts[3, :] = np.where(np.arange(60) == 5, 7, 0)  # a single gene: its count may be any
    counts[4] = np.where(counts[4] > 0, counts[4] + 1, 0)  # no gene of the cell has the count 1
    adata.X = sp.csr_matrix(counts.astype(np.float32))
    sc.pp.normalize_total(adata, target_sum=target)
    if logarithm:
        sc.pp.log1p(adata)
    expected = counts // np.gcd.reduce(counts, axis=1)[:, None]
    found, what = recovered(adata.X, "X")
    np.testing.assert_array_equal(found.toarray(), expected)
    assert ("logarithms" in what) == logarithm
    assert (expected[4] == counts[4]).all() and expected[3].sum() == 1


def test_blood_cells_come_back_from_logarithms_of_three_decimals() -> None:
    packaged, real = sc.datasets.pbmc68k_reduced(), demo_anndata()
    found, _ = recovered(packaged.raw.X, "raw")
    np.testing.assert_array_equal(found.toarray(), counts_of(real))


def test_recovery_is_done_where_it_is_requested_and_refused_where_it_cannot_be(tmp_path: Path, capsys: Any) -> None:
    adata = cells()
    counts, path = counts_of(adata), str(tmp_path / "logs.h5ad")
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    adata.write_h5ad(path)
    with pytest.raises(DataError, match="--recover-counts computes the counts"):
        open_path(path, {})
    loaded = open_path(path, {"recover": "yes"})
    np.testing.assert_array_equal(loaded.rows[np.arange(60)], counts // np.gcd.reduce(counts, axis=1)[:, None])
    assert "recovered from X" in loaded.notes[0]
    assert main(["cells", "check", path]) == 3
    capsys.readouterr()
    assert main(["cells", "check", path, "--json", "--recover-counts"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == "counts"
    blurred = adata.copy()
    blurred.X = adata.X.toarray() @ (np.eye(12) * 0.9 + 0.1 / 12)
    with pytest.raises(DataError, match="no factor makes the expression of cell"):
        gendi.cells.recover_counts(blurred)
    adata.X = adata.X.toarray()
    sc.pp.scale(adata)
    with pytest.raises(DataError, match="X cannot be recovered: it looks scaled"):
        gendi.cells.recover_counts(adata)
    with pytest.raises(UsageError, match="layer"):
        gendi.cells.recover_counts(adata, layer="nowhere")
