"""Reading an .h5ad, another file of counts or an AnnData.

The result are rows of integer counts, conditions from `obs`, and the schema that output needs.

The counts are in the requested layer (`?layer=NAME`, where X and raw are names too), otherwise in the layer named in
`setup_anndata`, otherwise in the first of layers["counts"], X and raw.X that looks like counts. Scaled or logarithmic
data are refused; counts are computed from logarithms only where that is requested (`?recover=yes`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.demo import DEMO, demo_anndata
from gendi.data.cells.extra import require
from gendi.data.cells.files import TEXTS, read_counts_file
from gendi.data.cells.looks import CHUNK, Trouble, first_trouble, look_at
from gendi.data.cells.matrices import find_counts
from gendi.data.cells.matrix_folder import is_10x_folder
from gendi.data.cells.normalise import depths
from gendi.data.cells.observations import SUM, colors, conditions_of, forms, sum_of_counts
from gendi.data.cells.recover import recover_counts
from gendi.data.cells.rows import CountRows, dense, large, sparse_rows
from gendi.data.cells.settings import Setup, read_setup
from gendi.data.split import Loaded, Rows
from gendi.errors import DataError, UsageError, unknown_name

OPTIONS = ("layer", "backed", "recover", "transpose")
FILES = (*TEXTS, ".mtx", ".mtx.gz", ".h5")
"""Endings of files of counts other than .h5ad."""


def open_path(place: str, options: Mapping[str, str]) -> Loaded:
    """Open the demo data, an .h5ad or another file of counts, with the options of `read_cells`.

    Raises:
        UsageError: an error of `read_cells`.
        DataError: an error of `read_cells` or of `load_anndata`.
    """
    adata, layer, notes = read_cells(place, options)
    loaded = load_anndata(adata, layer)
    return replace(loaded, notes=(*notes, *loaded.notes))


def read_cells(place: str, options: Mapping[str, str]) -> tuple[Any, str | None, tuple[str, ...]]:
    """Return the AnnData at a place, the layer that is requested or None, and notes on how it was read.

    The options are `layer`; `backed` (`yes`: the file stays on the disk, as files above 1 GB do by default); `recover`
    (`yes`: counts are computed from normalised expression, see `recover_counts`); and, for texts, `transpose` (`yes`:
    a line for each gene).

    Raises:
        UsageError: an unknown option, or anndata is missing.
        DataError: no such file, or one that cannot be read; counts that cannot be recovered.
    """
    for name in options:
        if name not in OPTIONS:
            raise unknown_name("option of cells", name, OPTIONS)
        if name != "layer" and options[name] not in ("yes", "no"):
            raise UsageError(f"{name} = {options[name]!r} must be yes or no.")
    layer, recover = options.get("layer"), options.get("recover") == "yes"
    path = Path(place).expanduser()
    if is_10x_folder(path) or (path.is_file() and path.name.lower().endswith(FILES)):
        adata = read_counts_file(path, options.get("transpose") == "yes")
    else:
        adata = read_h5ad(place, "no" if recover else options.get("backed"))
    return (adata, "counts", (recover_counts(adata, layer),)) if recover else (adata, layer, ())


def open_object(adata: Any) -> Loaded:
    """Open an AnnData in memory. Raises the errors of `load_anndata`."""
    return load_anndata(adata, None)


def read_h5ad(place: str, backed: str | None = None) -> Any:
    """Return the AnnData at a path, or the demo data for their name. Raises `DataError` if it is not an .h5ad."""
    anndata = require("anndata")
    path = Path(place).expanduser()
    if place == DEMO and not path.exists():
        return demo_anndata()
    if not path.is_file():
        raise DataError(
            f"There is no file {place} (looked in {Path.cwd()}). Give the path of an .h5ad, or cells:{DEMO}, which "
            "comes with scanpy."
        )
    try:
        return anndata.read_h5ad(path, backed="r" if backed == "yes" or (backed is None and large(path)) else None)
    except Exception as error:  # h5py and anndata raise errors of many types for damaged files
        raise DataError(
            f"{path} could not be read as an .h5ad: {type(error).__name__}: {str(error).splitlines()[0][:200]}. Is it "
            "whole, and was it written by anndata (adata.write_h5ad)?"
        ) from error


def load_anndata(adata: Any, layer: str | None) -> Loaded:
    """Return counts, conditions and schema of an AnnData.

    Raises:
        UsageError: a missing layer.
        DataError: no cells or genes, genes of the same name, no matrix of counts, entries that are not counts, or cells
            without counts.
    """
    settings = read_setup(adata)
    name, rows, depth = checked_counts(adata, layer or settings.layer)
    return loaded_of(adata, settings, name, rows, depth, notes_on(adata, name, layer or settings.layer))


def checked_counts(adata: Any, layer: str | None) -> tuple[str, CountRows, NDArray[np.float64]]:
    """Return the name of the matrix of counts, its rows and the depth of each cell, all of them checked.

    Raises the errors of `load_anndata`.
    """
    genes = [str(name) for name in adata.var_names]
    _check_names(adata, genes)
    name, matrix = find_counts(adata, layer)
    rows = CountRows(matrix, Path(adata.filename) if getattr(adata, "isbacked", False) else None)
    if (trouble := first_trouble(rows)) is not None:
        raise _no_count(adata, name, trouble, genes)
    depth = depths_of(rows)
    if not depth.all():
        empty = np.flatnonzero(depth == 0)
        raise DataError(
            f"{len(empty)} cells have no counts at all in {name}, the first is {adata.obs_names[empty[0]]!r}. Leave "
            "them out: sc.pp.filter_cells(adata, min_counts=1)."
        )
    return name, rows, depth


def depths_of(rows: Rows) -> NDArray[np.float64]:
    """Return the depth (N,) of each row, chunk by chunk."""
    return np.concatenate([depths(sparse_rows(rows, slice(i, i + CHUNK))) for i in range(0, len(rows), CHUNK)])


def notes_on(adata: Any, name: str, requested: str | None) -> tuple[str, ...]:
    """Return what to say of the matrix `name`, which holds the counts, where another one was `requested`, or none."""
    return (*_passed_over(adata, name, requested), *_selected(adata, name))


def loaded_of(
    adata: Any, settings: Setup, name: str, rows: Rows, depth: NDArray[np.float64], notes: tuple[str, ...]
) -> Loaded:
    """Return counts, conditions and schema of cells.

    Args:
        adata: has the cells' obs, var and uns.
        settings: what is known of the columns of obs.
        name: where the counts come from.
        rows: the counts, checked.
        depth: the sum of each cell's counts.
        notes: what is to be said before the notes on conditions.

    Raises `DataError` for a column that `settings` name and that cannot be a condition.
    """
    columns, left_out, more = conditions_of(adata, settings, depth)
    total, of_depth = sum_of_counts(columns, depth)
    schema: dict[str, Any] = {
        "genes": [str(name) for name in adata.var_names],
        "var": plain_columns(adata.var),
        "layer": name,
        "obs": {spec.name: key for spec, _, key in columns},
        "forms": forms(adata, columns),
        "colors": colors(adata, columns),
        "labels_key": settings.labels_key,
        SUM: total,
    }
    return Loaded(
        rows,
        {spec.name: values for spec, values, _ in columns},
        specs=tuple(spec for spec, _, _ in columns),
        left_out=left_out,
        notes=(*notes, *of_depth, *more),
        schema=schema,
        column=lambda key: _column(adata, key),
    )


def _column(adata: Any, key: str) -> Any:
    """Return a column of obs. Raises `UsageError`, with the nearest name, if there is none of that name."""
    if key not in adata.obs:
        raise unknown_name("column of obs", key, [str(name) for name in adata.obs.columns])
    return adata.obs[key].astype(object).to_numpy()


def matched(rows: Any, genes: Sequence[str], order: Sequence[str]) -> NDArray[Any]:
    """Return counts (N, G) with the genes of `order`, in this order, matched by name.

    Raises:
        DataError: genes are missing.
    """
    columns = columns_of(genes, order)
    whole = rows[slice(0, len(rows))] if not isinstance(rows, np.ndarray) else rows
    return np.asarray(dense(whole)[:, columns])


def columns_of(genes: Sequence[str], order: Sequence[str]) -> NDArray[np.int64]:
    """Return the columns of the genes of `order` among `genes`, in this order.

    Raises:
        DataError: genes are missing.
    """
    place = {gene: i for i, gene in enumerate(genes)}
    if missing := [gene for gene in order if gene not in place]:
        raise DataError(
            f"{len(missing)} of the model's {len(order)} genes are missing in these cells, the first are "
            f"{', '.join(missing[:5])}. Give cells with the same genes; their order does not matter."
        )
    return np.array([place[gene] for gene in order], np.int64)


def _check_names(adata: Any, genes: list[str]) -> None:
    cells, n = adata.shape
    if not cells or not n:
        raise DataError(f"These data have {cells} cells and {n} genes: there is nothing to learn from.")
    if twice := [gene for gene, times in Counter(genes).items() if times > 1]:
        raise DataError(
            f"{len(twice)} names belong to several genes, the first is {twice[0]!r}. Give each gene its own name: "
            "adata.var_names_make_unique()."
        )


def _no_count(adata: Any, name: str, trouble: Trouble, genes: Sequence[str]) -> DataError:
    what = "negative" if trouble.value < 0 else "not a whole number" if np.isfinite(trouble.value) else "not finite"
    return DataError(
        f"{name} has {trouble.value:g} for gene {genes[trouble.gene]!r} in cell {adata.obs_names[trouble.cell]!r}, "
        f"which is {what}: counts are whole numbers from 0 on. Name the layer that has them (--layer), or correct it."
    )


def plain_columns(table: Any) -> dict[str, list[Any]]:
    """Return the columns of `var` that hold texts, numbers or booleans, as lists."""
    found = {}
    for key in table.columns:
        column = table[key]
        if column.dtype.kind in "biufO" or str(column.dtype) in ("category", "str", "string"):
            values = column.astype(object).where(column.notna(), None).tolist()
            if all(isinstance(value, str | int | float | bool | None) for value in values):
                found[str(key)] = values
    return found


def _selected(adata: Any, name: str) -> tuple[str, ...]:
    """Return a note if the counts are those of a selection of the genes of raw."""
    if name != "raw" or name in adata.layers or adata.raw.shape[1] == adata.shape[1]:
        return ()
    return (
        f"the counts are taken from raw: of its {adata.raw.shape[1]:,} genes, the {adata.shape[1]:,} that were "
        "selected; adata.raw.to_adata() has all of them",
    )


def _passed_over(adata: Any, name: str, requested: str | None) -> tuple[str, ...]:
    """Return a note if a layer `counts` does not hold counts, so that another matrix is used."""
    if requested is not None or name == "counts" or "counts" not in adata.layers:
        return ()
    return (f'layers["counts"] looks {look_at(adata.layers["counts"])}: the counts are taken from {name}',)
