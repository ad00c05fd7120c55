"""Several AnnData or files of counts as one: `cells:a.h5ad,b.h5ad`, `cells:folder/*.h5ad`, or `gendi.fit([a, b])`.

The cells stand one after another. Genes are matched by name, and those that every file has are kept, in the order of
the first file. The columns of `obs` are joined; a cell of a file without a column has no value in it. One more column,
`file`, says where a cell comes from (`file-of-cell` if there is a column of that name).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.extra import require
from gendi.data.cells.gene_names import Common, common_genes
from gendi.data.cells.joined_obs import joined_obs
from gendi.data.cells.many_places import file_names, places_of
from gendi.data.cells.matrices import find_counts
from gendi.data.cells.read import checked_counts, depths_of, loaded_of, notes_on, open_path, read_cells
from gendi.data.cells.rows import CountRows, JoinedCounts
from gendi.data.cells.settings import Setup, read_setup
from gendi.data.split import Loaded
from gendi.errors import DataError, UsageError

FILE, OTHER_FILE = "file", "file-of-cell"
ON_DISK = 2**30
"""Files of more bytes than this together stay on the disk."""


@dataclass(frozen=True, eq=False)
class Part:
    """One of several sources of cells, whose counts were checked."""

    name: str
    """What the column `file` calls it."""
    obs: Any
    var: Any
    uns: Mapping[str, Any]
    settings: Setup
    layer: str
    rows: CountRows
    depth: NDArray[np.float64]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, adata: Any, layer: str | None, notes: tuple[str, ...] = ()) -> "Part":
        """Return an AnnData as a part. Raises the errors of `load_anndata`, which begin with its name."""
        try:
            settings = read_setup(adata)
            if len(adata):
                _check_scale(adata, layer or settings.layer)
            found, rows, depth = checked_counts(adata, layer or settings.layer)
        except (DataError, UsageError) as error:
            raise type(error)(f"{name}: {error}") from error
        said = tuple(f"{name}: {note}" for note in (*notes, *notes_on(adata, found, layer or settings.layer)))
        return cls(name, adata.obs, adata.var, dict(adata.uns), settings, found, rows, depth, said)

    @property
    def genes(self) -> list[str]:
        """The names of the genes."""
        return [str(name) for name in self.var.index]

    def with_genes(self, genes: Sequence[str]) -> "Part":
        """Return the part with these of its genes, in this order.

        Raises `DataError` for cells without counts in these genes.
        """
        own = self.genes
        if own == list(genes):
            return self
        place = {gene: i for i, gene in enumerate(own)}
        columns = np.array([place[gene] for gene in genes], np.int64)
        rows = self.rows.with_columns(columns)
        depth = depths_of(rows)
        if empty := int((depth == 0).sum()):
            raise DataError(
                f"{empty:,} cells of {self.name} have no counts in the {len(genes):,} genes that all files have. Leave "
                "them out, or the file that lacks their genes."
            )
        return replace(self, var=self.var.iloc[columns], rows=rows, depth=depth)


def _check_scale(adata: Any, layer: str | None) -> None:
    try:
        find_counts(adata, layer)
    except DataError as error:
        raise DataError(
            f"{error} Files that are read as one must all hold counts, so that their scale is one."
        ) from error


def open_places(place: str, options: Mapping[str, str]) -> Loaded:
    """Open the cells at one place or at several (`places_of`), with the options of `read_cells`.

    Raises:
        UsageError: an error of `read_cells` or `places_of`.
        DataError: an error of `read_cells` or `load_anndata`, which begins with the name of the file; or the files have
            no gene in common.
    """
    places = places_of(place)
    return open_path(places[0], options) if len(places) == 1 else load_parts(read_parts(places, options))


def read_parts(places: Sequence[str], options: Mapping[str, str]) -> list[Part]:
    """Return the cells at several places, with the errors of `open_places`."""
    paths = [Path(place).expanduser() for place in places]
    size = sum(path.stat().st_size for path in paths if path.is_file())
    backed = {"backed": "yes"} if size > ON_DISK and "backed" not in options else {}
    parts = []
    for name, place, path in zip(file_names(places), places, paths, strict=True):
        own = {**options, **(backed if path.suffix.lower() == ".h5ad" else {})}
        adata, layer, notes = read_cells(place, own)
        parts.append(Part.of(name, adata, layer, notes))
    return parts


def open_objects(things: Sequence[Any]) -> Loaded:
    """Open several AnnData in memory as one, with the errors of `open_places`; they are called 1, 2, ..."""
    return load_parts([Part.of(str(number + 1), adata, None) for number, adata in enumerate(things)])


@dataclass(frozen=True, eq=False)
class Joined:
    """Several sources of cells as one."""

    adata: Any
    """obs, var and uns of all cells; no matrix."""
    settings: Setup
    layer: str
    rows: JoinedCounts
    depth: NDArray[np.float64]
    genes: Common
    notes: tuple[str, ...]


def join(parts: list[Part]) -> Joined:
    """Return parts as one. In the list they are replaced by parts of the common genes, so that no matrix is kept twice.

    Raises `DataError` if they have no gene in common, or if there are cells without counts in the common genes.
    """
    genes = common_genes({part.name: (part.genes, part.var) for part in parts})
    for place in range(len(parts)):
        parts[place] = parts[place].with_genes(genes.names)
    obs, colors = joined_obs([(part.obs, part.uns) for part in parts])
    names = [part.name for part in parts]
    column = FILE if FILE not in obs else OTHER_FILE
    sizes = [len(part.rows) for part in parts]
    obs[column] = require("pandas").Categorical.from_codes(np.repeat(np.arange(len(parts)), sizes), categories=names)
    adata = require("anndata").AnnData(obs=obs, var=parts[0].var, uns=colors)
    layers = list(dict.fromkeys(part.layer for part in parts))
    named = [part.settings for part in parts]
    settings = Setup(
        labels_key=next((each.labels_key for each in named if each.labels_key is not None), None),
        batch_key=next((each.batch_key for each in named if each.batch_key is not None), None),
        condition_keys=tuple(dict.fromkeys(key for each in named for key in each.condition_keys)),
    )
    of_files = ", ".join(f"{name} {size:,}" for name, size in zip(names, sizes, strict=True))
    notes = (f"{len(parts)} files are read as one, and {column} says which one a cell is of: {of_files} cells",)
    return Joined(
        adata,
        settings,
        " and ".join(layers),
        JoinedCounts([part.rows for part in parts]),
        np.concatenate([part.depth for part in parts]),
        genes,
        (*notes, *genes.notes, *(note for part in parts for note in part.notes)),
    )


def load_parts(parts: list[Part]) -> Loaded:
    """Return the counts, conditions and schema of parts as one, with the errors of `join` and `loaded_of`."""
    both = join(parts)
    return loaded_of(both.adata, both.settings, both.layer, both.rows, both.depth, both.notes)
