"""A perturbation experiment: counts of cells of several types, which are controls or were given a dose of a drug."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.read import load_anndata
from gendi.errors import DataError, UsageError, unknown_name

CONTROL = -1
"""The drug of a control cell."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """The counts (n, G) of the cells, and the type, drug and dose of each.

    Types and drugs are numbers that index the tuples of names. A control has the drug -1 and the dose 0.
    """

    counts: Int64[np.ndarray, "n g"]
    types: Int64[np.ndarray, " n"]
    drugs: Int64[np.ndarray, " n"]
    doses: Float64[np.ndarray, " n"]
    type_names: tuple[str, ...]
    drug_names: tuple[str, ...]
    genes: tuple[str, ...]
    batches: Int64[np.ndarray, " n"] | None = None
    """The batch of each cell, or None. Cells are compared with controls of their own batch."""

    @property
    def control(self) -> Bool[np.ndarray, " n"]:
        """Which cells are controls."""
        return np.asarray(self.drugs == CONTROL)

    def __len__(self) -> int:
        return len(self.counts)

    def rows(self, kept: NDArray[Any]) -> Self:
        """Return some of the cells."""
        parts = {name: getattr(self, name)[kept] for name in ("counts", "types", "drugs", "doses")}
        return replace(self, **parts, batches=None if self.batches is None else self.batches[kept])

    def controls(self, cell_type: int, drug: int | None = None) -> Int64[np.ndarray, "m g"]:
        """Return the counts of the controls of a type; with a drug, those of the batches in which it was given.

        Raises `DataError` if the type has none.
        """
        given = None if drug is None or self.batches is None else np.unique(self.batches[self.drugs == drug]).tolist()
        found = self.beside(cell_type, given)
        if not len(found):
            raise DataError(
                f"There is no control cell of the type {self.type_names[cell_type]!r}, and the effect of a drug is a "
                "difference from controls of the same type. Add some, or leave the type out."
            )
        return found

    def beside(self, cell_type: int, batches: Sequence[int] | None) -> Int64[np.ndarray, "m g"]:
        """Return the counts of the controls of a type in some batches; of all, if these have none or for None."""
        own = self.control & (self.types == cell_type)
        if batches is not None and self.batches is not None:
            within = own & np.isin(self.batches, batches)
            own = within if within.any() else own
        return np.asarray(self.counts[own])

    def conditions(self) -> list[tuple[int, int, float]]:
        """Return every (type, drug, dose) that treated cells have, sorted."""
        treated = ~self.control
        triples = zip(self.types[treated], self.drugs[treated], self.doses[treated], strict=True)
        return sorted({(int(c), int(d), float(x)) for c, d, x in triples})

    def of(self, cell_type: int, drug: int, dose: float) -> Int64[np.ndarray, "m g"]:
        """Return the counts (m, G) of the cells of a condition, that is of a type, a drug and a dose."""
        return np.asarray(self.counts[(self.types == cell_type) & (self.drugs == drug) & (self.doses == dose)])

    def without(self, conditions: Sequence[tuple[int, int, float]]) -> Self:
        """Return the experiment without the cells of some conditions, which are to be predicted."""
        kept = np.ones(len(self), bool)
        for c, d, x in conditions:
            kept &= ~((self.types == c) & (self.drugs == d) & (self.doses == x))
        return self.rows(kept)

    def type_number(self, name: str) -> int:
        """Return the number of a type. Raises `UsageError` for one without cells."""
        return _number("cell type", name, self.type_names)

    def drug_number(self, name: str) -> int:
        """Return the number of a drug. Raises `UsageError` for one without cells."""
        return _number("drug", name, self.drug_names)


def _number(kind: str, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise unknown_name(kind, name, names)
    return names.index(name)


def checked_dose(dose: float) -> float:
    """Return the dose as a float. Raises `UsageError` unless it is finite and above 0."""
    if not (np.isfinite(dose) and dose > 0):
        raise UsageError(f"dose = {dose} must be a finite number above 0, in the units of the training data.")
    return float(dose)


def read_experiment(
    adata: Any,
    *,
    cell_type: str,
    drug: str,
    dose: str,
    control: str | None,
    batch: str | None = None,
    layer: str | None = None,
) -> Experiment:
    """Return the experiment in an AnnData of counts.

    Args:
        adata: cells; `gendi.data.cells.matrices.find_counts` finds their counts.
        cell_type, drug, dose: columns of `obs`: two with names, one with numbers. The drug and dose of controls are
            not read.
        control: the column of `obs` that is True for controls, or the name of the drug that controls have ("DMSO").
            With None, the cells of dose 0 are the controls.
        batch: a column of `obs` with the batches (plates, donors). Treated cells are then compared with controls of
            their own batch, where it has some of the type.
        layer: the layer that holds the counts.

    Raises:
        UsageError: a missing column.
        DataError: no counts; a column with gaps; a dose that is not a finite number above 0; no controls, no treated
            cells, or a type without controls.
    """
    for key in (cell_type, drug, dose, *([batch] if batch is not None else [])):
        if key not in adata.obs:
            raise unknown_name("column of obs", key, [str(name) for name in adata.obs.columns])
    is_control = _controls(adata, drug, dose, control)
    loaded = load_anndata(adata, layer)
    type_names, types = _codes(adata.obs[cell_type], cell_type)
    treated = ~is_control
    if not is_control.any() or not treated.any():
        what = "control" if treated.any() else "treated"
        raise DataError(
            f"There is no {what} cell among these {len(is_control)}, and the model needs both control and treated "
            "cells. The argument `control` says which cells are controls: it is a column of booleans, or the name of "
            'the drug that controls have, such as "DMSO".'
        )
    drug_names, drug_codes = _codes(adata.obs[drug][treated], drug)
    drugs, doses = np.full(len(types), CONTROL), np.zeros(len(types))
    drugs[treated] = drug_codes
    doses[treated] = _doses(adata.obs[dose][treated], dose)
    counts = np.asarray(loaded.rows[slice(0, len(loaded.rows))], np.int64)
    genes = tuple(str(name) for name in adata.var_names)
    batches = None if batch is None else _codes(adata.obs[batch], batch)[1]
    out = Experiment(counts, types, drugs, doses, type_names, drug_names, genes, batches)
    for c in np.unique(types):
        out.controls(int(c))
    return out


def _controls(adata: Any, drug: str, dose: str, control: str | None) -> NDArray[np.bool_]:
    if control is None:
        return np.asarray(adata.obs[dose].to_numpy() == 0, bool)
    if control not in adata.obs:
        drugs = adata.obs[drug].astype(str).to_numpy()
        if control not in drugs:
            raise unknown_name("column of obs, or drug of controls,", control, [*map(str, adata.obs.columns), *drugs])
        return np.asarray(drugs == control, bool)
    column = adata.obs[control].to_numpy()
    if not np.isin(column, (0, 1)).all():
        raise DataError(f'obs["{control}"] says which cells are controls: it must be True or False everywhere.')
    return np.asarray(column, bool)


def _codes(column: Any, key: str) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    if column.isna().any():
        raise DataError(f'obs["{key}"] is empty in {int(column.isna().sum())} cells. Fill it in, or leave them out.')
    names, codes = np.unique(column.astype(str).to_numpy().astype(str), return_inverse=True)
    return tuple(map(str, names)), codes.astype(np.int64)


def _doses(column: Any, key: str) -> NDArray[np.float64]:
    try:
        doses = np.asarray(column.astype(float), np.float64)
    except (TypeError, ValueError):
        raise DataError(f'obs["{key}"] has a dose that is not a number, such as {column.iloc[0]!r}.') from None
    bad = ~(np.isfinite(doses) & (doses > 0))
    if bad.any():
        raise DataError(
            f'obs["{key}"] is {doses[bad][0]} in treated cell {column.index[bad][0]!r}, and {int(bad.sum())} treated '
            "cells have no valid dose: a dose is a finite number above 0. Correct it, or mark the cells as controls."
        )
    return doses
