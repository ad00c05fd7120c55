"""Filling the gaps of a table, and drawing rows of which some cells are given; no training is needed for either."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gendi.api.models import Models
from gendi.data.codec import Codec
from gendi.data.tables.cells import read_where, rows_of_frame
from gendi.data.tables.codec import TableCodec
from gendi.data.tables.frames import put
from gendi.data.tables.given import Given, improbable
from gendi.data.tables.output import to_frame
from gendi.data.tables.rules import broken
from gendi.diffusion.conditions import null_like, take_rows
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.gaussian.inverse.box import LEVELS, in_box
from gendi.diffusion.gaussian.samplers import Drawing
from gendi.errors import DataError, UsageError
from gendi.machine.stopping import Poll
from gendi.train.kept.bundle import Bundle, load_bundle

if TYPE_CHECKING:
    import pandas as pd

BATCH = 2000
"""Rows per call of the small networks of tables."""
ATTEMPTS = 20
"""How often a row that breaks a rule is filled anew."""


@dataclasses.dataclass(frozen=True)
class Filled:
    """Draws of the rows of a table, in numbers as the codec's schema has them."""

    rows: tuple[NDArray[np.float64], ...]
    """The draws, each (n, G)."""
    missing: NDArray[np.bool_]
    """Which cells were filled, (n, G)."""
    warnings: tuple[str, ...]


def impute(
    model: "Bundle | str | Path",
    frame: "pd.DataFrame",
    draws: int = 1,
    *,
    seed: int = 0,
    steps: int = LEVELS,
    device: str = "cpu",
    poll: Poll | None = None,
) -> "list[pd.DataFrame]":
    """Fill the missing cells of a table, from their distribution given all other cells of the row; several times for
    draws > 1.

    All missing cells of a row are drawn together, so they fit one another as well as what is given. The distribution is
    that of rows without gaps. Several draws show how sure a value is: their spread is that of the missing cell.

    Args:
        model: a bundle, or the folder of a run or bundle, of a model that was trained on a table.
        frame: rows of a table with the columns of the training table. Other columns are kept as they are, with their
            gaps; so is a column that was empty in training.
        draws: how often to fill each row.
        seed: draw i of a row is the same whatever `draws` is.
        steps: noise levels, each of which takes a call of the network.
        device: where to compute.
        poll: called after every call of the network; raises to stop.

    Returns:
        A list of `draws` DataFrames like `frame`, with its index, columns and types. Given cells are unchanged.

    Warns of given numbers outside the training data with a `UserWarning`.

    Raises:
        UsageError: the model is none of a table, or draws or steps are below 1.
        DataError: a column of the training table is missing, or a cell is no value of its column.
        DivergedError: a denoiser that returns NaN or infinity.
    """
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    codec = table_codec(bundle.codec, "filling gaps")
    rows = rows_of_frame(codec.schema, frame, "the DataFrame")
    filled = fill(bundle, rows, draws, Drawing(steps=steps, seed=seed, device=device, bounds=bundle.bounds), poll)
    for text in filled.warnings:
        warnings.warn(text, stacklevel=2)
    return [put(frame, to_frame(codec.schema, each, {}), filled.missing) for each in filled.rows]


def fill(bundle: Bundle, rows: NDArray[np.float64], draws: int, how: Drawing, poll: Poll | None = None) -> Filled:
    """Return draws of rows (n, G) whose missing cells are filled; see `impute`.

    `how` says the noise levels, the seed and the device. Draw k of row i is keyed by k n + i.
    """
    if draws < 1 or how.steps < 1:
        raise UsageError(f"draws and steps must be at least 1; got {draws} and {how.steps}.")
    if not bundle.config.objective.knows(how.steps):
        raise UsageError("this model is a student that knows a few noise levels only: ask its teacher to fill gaps.")
    codec = table_codec(bundle.codec, "filling gaps")
    n, cells = len(rows), Given.gaps_of(codec, np.tile(rows, (draws, 1)))
    known = {column.condition for column in codec.schema.columns if column.condition}
    specs = [spec for spec in bundle.config.conditions if spec.name in known]
    cond = told_by(codec, specs, cells)
    for spec in specs:
        if spec.dropout == 0 and bool((gone := _null(cond[spec.name])).any()):
            raise DataError(
                f"row {int(gone.int().argmax()) + 1} does not say its {spec.name}, and this model was never trained "
                f"without: give it in every row, or train a model without --condition {spec.name}."
            )
    how = dataclasses.replace(how, batch_size=BATCH)
    denoiser, box = Models(bundle).denoiser(None, cond, device=str(how.device)), cells.box()

    def drawn(which: NDArray[np.int64], attempt: int) -> tuple[NDArray[np.float64], Tensor]:
        keys = tuple(how.first_index + i + (attempt << 48) for i in which.tolist())
        part, own = torch.from_numpy(which), dataclasses.replace(how, numbers=keys)
        x = in_box(denoiser, box.some(part), own, cond=take_rows(cond, part), poll=poll)
        return cells.rows(which).put(codec.decode(x, {}, how.seed, 0).numpy()), x

    made, x = drawn(np.arange(len(cells.values)), 0)
    hopeless = broken(codec.rules, np.where(cells.exact, cells.values, np.nan))
    for attempt in range(1, ATTEMPTS + 1):
        if not len(bad := np.flatnonzero(broken(codec.rules, made) & ~hopeless)):
            break
        made[bad] = drawn(bad, attempt)[0]
    odd = np.unique(np.flatnonzero(broken(codec.rules, made) & ~hopeless) % n)
    said = [*Given.gaps_of(codec, rows).warnings(), improbable(x[:, : codec.scores])]
    if len(odd):
        said.append(
            f"{len(odd):,} rows, such as row {odd[0] + 1}, break a rule after {ATTEMPTS} attempts to fill them."
        )
    found = tuple(made.reshape(draws, n, -1))
    return Filled(found, np.isnan(rows) & ~np.isnan(found[0]), tuple(filter(None, said)))


def table_codec(codec: Codec, what: str) -> TableCodec:
    """Return the codec of a table. Raises `UsageError`, which says `what` cannot be done, for another one."""
    if not isinstance(codec, TableCodec):
        raise UsageError(f"{what} is for tables, and this model draws {codec.description}.")
    return codec


def told_by(codec: TableCodec, specs: Sequence[ConditionConfig], cells: Given) -> dict[str, Tensor]:
    """Return the conditions (n,) that the given cells of rows are, by name, null where a cell is not given."""
    found = {}
    for j, column in enumerate(codec.schema.columns):
        spec = next((spec for spec in specs if spec.name == column.condition), None)
        if spec is None:
            continue
        values, here = cells.values[:, j], cells.exact[:, j] & cells.present[:, j]
        if spec.kind == "class" and column.levels:
            levels = np.asarray(column.levels, np.float64)
            at = np.searchsorted(levels, values).clip(0, len(levels) - 1)
            here, values = here & (levels[at] == values), at.astype(np.float64)
        dtype = torch.int64 if spec.kind == "class" else torch.float32
        numbers = torch.from_numpy(np.where(here, values, 0.0)).to(dtype)
        found[spec.name] = torch.where(torch.from_numpy(here), numbers, null_like(numbers))
    return found


def _null(value: Tensor) -> Tensor:
    return value.isnan() if value.is_floating_point() else value < 0


def cells_of(codec: Codec, where: Mapping[str, Any], n: int) -> Given:
    """Return the cells that n samples are given. Raises `UsageError` for another codec, column or value."""
    table = table_codec(codec, "where")
    return Given.alike(table, read_where(table.schema, where), n)
