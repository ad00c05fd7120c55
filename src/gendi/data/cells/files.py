"""Files of counts other than .h5ad, as AnnData with counts in X.

.csv, .tsv            a line for each cell: its name, the counts of its genes, and texts, which become columns of obs
.mtx, or its folder   10x: genes in rows, beside features.tsv (or genes.tsv) and barcodes.tsv, each perhaps as .gz
.h5                   10x: the group `matrix`, or the older one of a genome
"""

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse as sp

from gendi.data.cells.extra import require
from gendi.data.cells.matrix_folder import MATRIX
from gendi.errors import DataError

TEXTS = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
GENES = "Gene Expression"
"""The type of the features that are genes, in files that hold antibodies or peaks beside them."""


def read_counts_file(path: Path, transpose: bool) -> Any:
    """Return the AnnData in a text, a matrix of 10x or its folder, or an HDF5 file of 10x.

    Args:
        path: the file or the folder.
        transpose: whether a text has a line for each gene.

    Raises:
        DataError: a file that is not of its form, or lacks names of genes or of cells.
    """
    try:
        if path.name.lower().endswith(TEXTS):
            return _text(path, transpose)
        return _h5(path) if path.suffix.lower() == ".h5" else _mtx(path)
    except (OSError, ValueError, KeyError, EOFError) as error:
        why = f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        raise DataError(f"{path} could not be read as counts: {why}. Is it whole?") from error


def _text(path: Path, transpose: bool) -> Any:
    pandas = require("pandas")
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        head = file.readline()
    separator = max("\t;,", key=head.count)
    fields = next(csv.reader([head], delimiter=separator), [])
    table = pandas.read_csv(path, sep=separator, low_memory=False)
    if not len(table) or not len(table.columns):
        raise DataError(f"{path} has no line of counts below its line of names.")
    first = table.columns[0]
    if not fields[0].strip() or table[first].dtype.kind not in "biuf":
        table = table.set_index(first)
    table.index, table.index.name = table.index.map(str), None
    if transpose:
        table = table.T.infer_objects()
    numbers = [name for name in table.columns if table[name].dtype.kind in "biuf"]
    if not numbers:
        raise DataError(f"{path} has no column of numbers, so it holds no counts.")
    texts = table[[name for name in table.columns if name not in set(numbers)]].copy()
    texts.columns = texts.columns.map(str)
    var = pandas.DataFrame(index=pandas.Index([str(name) for name in numbers]))
    return _anndata(sp.csr_matrix(table[numbers].to_numpy(np.float64)), texts, var)


def _mtx(path: Path) -> Any:
    pandas = require("pandas")
    if path.is_dir():
        path = next(found for zipped in ("", ".gz") if (found := path / f"{MATRIX}{zipped}").is_file())
    before = path.name.partition(MATRIX)[0] if MATRIX in path.name else ""
    names = []
    for kinds in (("features", "genes"), ("barcodes",)):
        tables = [path.with_name(f"{before}{kind}.tsv{zipped}") for kind in kinds for zipped in ("", ".gz")]
        there = next((table for table in tables if table.is_file()), None)
        if there is None:
            whose = "cells" if kinds[0] == "barcodes" else "genes"
            raise DataError(
                f"{path} has no {before}{kinds[0]}.tsv beside it, so its {whose} have no names. Put the files that the "
                "sequencing software wrote into one folder."
            )
        names.append(pandas.read_csv(there, sep="\t", header=None, dtype=str, keep_default_na=False))
    genes, cells = names
    matrix = sp.csr_matrix(scipy.io.mmread(path))
    if matrix.shape == (len(cells), len(genes)) and len(cells) != len(genes):
        matrix = sp.csr_matrix(matrix.T)
    if matrix.shape != (len(genes), len(cells)):
        raise DataError(
            f"{path} has {matrix.shape[0]:,} rows and {matrix.shape[1]:,} columns, but there are {len(genes):,} genes "
            f"and {len(cells):,} cells beside it."
        )
    kinds_of = list(genes[2]) if genes.shape[1] > 2 else []
    return _10x(matrix.T.tocsr(), list(cells[0]), list(genes[0]), list(genes[min(1, genes.shape[1] - 1)]), kinds_of)


def _h5(path: Path) -> Any:
    with require("h5py").File(path, "r") as file:
        groups = [file[name] for name in file if hasattr(file[name], "keys") and "indptr" in file[name]]
        if not groups or "barcodes" not in groups[0]:
            raise DataError(
                f"{path} is no file of 10x: no group in it has `barcodes` and `indptr`. Convert it to an .h5ad with "
                "scanpy, and give that."
            )
        group, named = groups[0], "features" in groups[0]
        shape = int(group["shape"][0]), int(group["shape"][1])
        matrix = sp.csc_matrix((group["data"][:], group["indices"][:], group["indptr"][:]), shape=shape)
        ids = _words(group["features/id"] if named else group["genes"])
        symbols = _words(group["features/name"] if named else group["gene_names"])
        kinds = _words(group["features/feature_type"]) if named and "feature_type" in group["features"] else []
        return _10x(matrix.T.tocsr(), _words(group["barcodes"]), ids, symbols, kinds)


def _words(dataset: Any) -> list[str]:
    return [word.decode() if isinstance(word, bytes) else str(word) for word in dataset[:]]


def _10x(counts: Any, cells: Sequence[str], ids: Sequence[str], symbols: Sequence[str], kinds: Sequence[str]) -> Any:
    """Return counts (N, G) as an AnnData of its genes alone; genes of the same symbol are told apart by a number."""
    pandas = require("pandas")
    kept = [i for i in range(len(symbols)) if GENES not in kinds or kinds[i] == GENES]
    names = require("anndata.utils").make_index_unique(pandas.Index([symbols[i] for i in kept]))
    var = pandas.DataFrame({"gene_ids": [ids[i] for i in kept]}, index=names)
    return _anndata(counts[:, kept], pandas.DataFrame(index=pandas.Index(cells)), var)


def _anndata(counts: Any, obs: Any, var: Any) -> Any:
    return require("anndata").AnnData(counts, obs=obs, var=var)
