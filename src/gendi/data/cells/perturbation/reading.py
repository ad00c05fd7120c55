"""Experiments read from the columns of an AnnData."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gendi.data.cells.perturbation.experiment import CONTROL, SHOWN, Experiment
from gendi.data.cells.perturbation.treatment import Treatment, numbered, separate
from gendi.data.cells.read import load_anndata
from gendi.errors import DataError, UsageError, unknown_name

ONE_TYPE = "all cells"
"""The type of all cells where no column says it."""
USUAL_CONTROLS = (
    *("control", "controls", "ctrl", "ctl", "dmso", "vehicle", "mock", "untreated", "unperturbed"),
    *("nontargeting", "nontargetingcontrol", "nt", "ntc", "negativecontrol", "negctrl", "safetargeting"),
)
"""Names that controls often have, in lower case and without signs and spaces."""
USUAL_DOSES = ("dose", "dosage", "concentration", "dosevalue")
"""Names that a column of doses often has, written likewise."""


def read_experiment(
    adata: Any,
    *,
    drug: str,
    cell_type: str | None = None,
    dose: str | None = None,
    control: str | None = None,
    batch: str | None = None,
    layer: str | None = None,
    combine: str | None = "+",
) -> Experiment:
    """Return the experiment in an AnnData of counts.

    Args:
        adata: cells; `gendi.data.cells.matrices.find_counts` finds their counts.
        drug: the column of `obs` with the names of drugs, or of genes that were knocked out. That of controls is not
            read.
        cell_type: the column with the types of cells; with None, all cells are of one type.
        dose: the column with doses, numbers above 0 in treated cells. With None, treatments have no doses.
        control: the column of `obs` that is True for controls, or the name of the drug that controls have ("DMSO").
            With None, the cells of dose 0 are the controls; without doses, those whose drug has one of the names that
            controls usually have, such as "ctrl" or "non-targeting".
        batch: a column of `obs` with the batches (plates, donors). Treated cells are then compared with controls of
            their own batch, where it has some of the type.
        layer: the layer that holds the counts.
        combine: what stands between the names of drugs that were given together (and between their doses); None takes
            every name as that of one drug.

    Raises:
        UsageError: a missing column; controls that are not named.
        DataError: no counts; a column with gaps; a dose that is not a finite number above 0; no controls, no treated
            cells, or a type without controls.
    """
    for key in (cell_type, drug, dose, batch):
        if key is not None and key not in adata.obs:
            raise unknown_name("column of obs", key, [str(name) for name in adata.obs.columns])
    if control is None and dose is None:
        control = usual_control(adata.obs[drug], drug)
    is_control = _controls(adata, drug, dose, control)
    loaded = load_anndata(adata, layer)
    type_names: tuple[str, ...] = (ONE_TYPE,)
    types = np.zeros(len(is_control), np.int64)
    if cell_type is not None:
        type_names, types = _codes(adata.obs[cell_type], cell_type)
    treated = ~is_control
    if not is_control.any() or not treated.any():
        what = "control" if treated.any() else "treated"
        raise DataError(
            f"There is no {what} cell among these {len(is_control)}, and the model needs both control and treated "
            "cells. The argument `control` says which cells are controls: it is a column of booleans, or the name of "
            'the drug that controls have, such as "DMSO".'
        )
    named = None if control is None or control in adata.obs else control
    drugs, doses = np.full(len(types), CONTROL), np.zeros(len(types))
    drug_names, together, drugs[treated], doses[treated] = _treatments(adata.obs[treated], drug, dose, combine, named)
    counts = np.asarray(loaded.rows[slice(0, len(loaded.rows))], np.int64)
    genes = tuple(str(name) for name in adata.var_names)
    batch_names, batches = ((), None) if batch is None else _codes(adata.obs[batch], batch)
    about = (dose is not None, named, together, combine or None, (), batch_names)
    out = Experiment(counts, types, drugs, doses, type_names, drug_names, genes, batches, *about)
    for c in np.unique(types):
        out.controls(int(c))
    return out


def usual_control(column: Any, key: str) -> str:
    """Return the only name in a column of drugs that is one of `USUAL_CONTROLS`. Raises `UsageError` without one."""
    names = sorted({str(name) for name in column.dropna()})
    found = [name for name in names if _plain(name) in USUAL_CONTROLS]
    if len(found) == 1:
        return found[0]
    what = f"both {found[0]!r} and {found[1]!r}" if found else 'no name such as "control" or "non-targeting"'
    raise UsageError(
        f'obs["{key}"] has {what}, so it must be said which cells are controls: `control` (--control) is the name that '
        f"they have there, or a column of booleans. Names in the column: {', '.join(names[:SHOWN])}"
        f"{f' and {len(names) - SHOWN:,} others' if len(names) > SHOWN else ''}."
    )


def forgotten_doses(adata: Any, drug: str, control: NDArray[np.bool_]) -> str | None:
    """Return a warning if treated cells of a drug differ in a column that is called as columns of doses are."""
    treated = adata.obs[~control]
    for name in map(str, treated.columns):
        if _plain(name) in USUAL_DOSES and (treated.groupby(drug, observed=True)[name].nunique() > 1).any():
            return (
                f'obs["{name}"] looks like doses, and cells of all doses of a drug are taken alike. Give that column '
                "as `dose` (--dose) to learn how effects depend on it."
            )
    return None


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _controls(adata: Any, drug: str, dose: str | None, control: str | None) -> NDArray[np.bool_]:
    if control is None:
        return np.asarray(adata.obs[dose].to_numpy() == 0, bool)
    if control not in adata.obs:
        drugs = adata.obs[drug].astype(str).to_numpy()
        if control not in drugs:
            raise unknown_name("column of obs, or drug of controls,", control, {*map(str, adata.obs.columns), *drugs})
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


def _treatments(
    treated: Any, drug: str, dose: str | None, sign: str | None, control: str | None
) -> tuple[tuple[str, ...], dict[int, Treatment], NDArray[np.int64], NDArray[np.float64]]:
    """Return what `numbered` does of the rows of `obs` of treated cells."""
    names, codes = _codes(treated[drug], drug)
    if all(separate(name, sign, control) == (name,) for name in names):
        return names, {}, codes, np.ones(len(codes)) if dose is None else _doses(treated[dose], dose)
    if dose is not None and treated[dose].isna().any():
        raise DataError(f'obs["{dose}"] is empty in {int(treated[dose].isna().sum())} treated cells. Fill it in.')
    texts = np.full(len(codes), "") if dose is None else treated[dose].astype(str).to_numpy().astype(str)
    dose_names, dose_codes = np.unique(texts, return_inverse=True)
    _, first, own = np.unique(codes * len(dose_names) + dose_codes, return_index=True, return_inverse=True)
    given = [None if dose is None else str(texts[i]) for i in first]
    for i, each in zip(first, given, strict=True):
        try:
            numbered([names[codes[i]]], [each], sign, control)
        except UsageError as error:
            raise DataError(f'obs["{dose}"] of the cell {treated.index[i]!r}: {error}') from None
    labels, together, numbers, at = numbered([names[codes[i]] for i in first], given, sign, control)
    return labels, together, numbers[own], at[own]


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
