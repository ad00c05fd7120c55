"""`gendi.cells.encode`: existing cells in the model space of a trained model, where its drawn cells are too."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gendi.data.cells.clusters import FIELD, most_likely
from gendi.data.cells.codec import CellsCodec, chunks
from gendi.data.cells.copula import CopulaCodec
from gendi.data.cells.read import columns_of
from gendi.data.kinds import as_text, kind_of
from gendi.data.split import Loaded, Split
from gendi.errors import UsageError
from gendi.train.kept.bundle import Bundle, load_bundle

CELLS = 1024
"""Number of cells that are read at a time."""


def encode(model: Bundle | str | Path, cells: Any) -> NDArray[np.float32]:
    """Return existing cells in model space, (N, D), as `obsm["X_gendi"]` has drawn ones.

    Of the `copula`, column 0 is the standardised logarithm of the depth, and the others are a draw of the cell's
    factors from their posterior given its counts. The draw depends on the number of the cell alone, so the same cells
    always have the same result. A cell's class decides which distributions its counts are compared with; a cell
    without a class that the model knows is compared with those of all cells together, with a `UserWarning`.

    Args:
        model: a model of cells, or the folder of its run or bundle.
        cells: an AnnData, several as a list, or what `gendi.fit` takes as the name of cells. Genes are matched by name,
            their order does not matter, and genes that the model does not have are ignored.

    Raises:
        UsageError: a model of other data.
        DataError: genes of the model are missing in the cells, or the cells cannot be read (`gendi.data.open_data`).
    """
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    codec = bundle.codec
    if not isinstance(codec, CellsCodec):
        raise UsageError(f"gendi.cells.encode is for models of cells, and this one draws {codec.description}.")
    loaded = kind_of("cells").open(as_text(cells))
    columns = columns_of(loaded.schema["genes"], codec.header.schema["genes"])
    label, clusters = codec.header.label, codec.header.schema.get(FIELD)
    classes = {
        name: _classes(bundle, name, loaded) for name in (label, *codec.header.others) if name not in (None, clusters)
    }
    out = np.empty((len(loaded.rows), *codec.shape), np.float32)
    for part in chunks(len(out), CELLS):
        rows = np.ascontiguousarray(loaded.rows[part][:, columns])
        cond = {name: torch.from_numpy(of[part]) for name, of in classes.items()}
        if label is not None and label == clusters:
            cond[label] = torch.from_numpy(_clusters(codec, rows))
        index = torch.arange(part.start, part.stop)
        out[part] = codec.encode(torch.from_numpy(rows), cond, index).numpy()
    return out


def _classes(bundle: Bundle, label: str, loaded: Loaded) -> NDArray[np.int64]:
    """Return the model's number of each cell's class of a condition, -1 for none, with a warning."""
    known = bundle.condition(label)
    own = next((spec for spec in loaded.specs if spec.name == label and spec.kind == "class"), None)
    if known is None or own is None:
        found = np.full(len(loaded.rows), -1, np.int64)
    else:
        numbers = {name: i for i, name in enumerate(known.names)}
        table = np.array([*(numbers.get(name, -1) for name in own.names), -1], np.int64)
        found = table[loaded.conditions[label]]
    if missing := int((found < 0).sum()):
        warnings.warn(
            f"{missing:,} of {len(found):,} cells have no {label} that the model knows: they are encoded by the "
            "distributions of all cells together.",
            stacklevel=3,
        )
    return found


def _clusters(codec: CellsCodec, rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return the cluster of each cell that training would have given it."""
    if not isinstance(codec, CopulaCodec):
        return np.full(len(rows), -1, np.int64)
    return most_likely(Split(rows), codec.marginals)
