"""A perturbation experiment: counts of cells of several types, which are controls or were treated.

A treatment is a dose of a drug, or a perturbation without doses, such as the knock-out of a gene: it then has the dose
1 everywhere, which is never shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from gendi.data.cells.perturbation.treatment import Doses, Treatment, numbered, parse_doses, separate
from gendi.data.cells.read import load_anndata
from gendi.errors import DataError, UsageError, unknown_name

CONTROL = -1
"""The drug of a control cell."""
ONE_TYPE = "all cells"
"""The type of all cells where no column says it."""
USUAL_CONTROLS = (
    *("control", "controls", "ctrl", "ctl", "dmso", "vehicle", "mock", "untreated", "unperturbed"),
    *("nontargeting", "nontargetingcontrol", "nt", "ntc", "negativecontrol", "negctrl", "safetargeting"),
)
"""Names that controls often have, in lower case and without signs and spaces."""
USUAL_DOSES = ("dose", "dosage", "concentration", "dosevalue")
"""Names that a column of doses often has, written likewise."""
SHOWN = 10
"""Names that a message lists."""


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
    dosed: bool = True
    """Whether treatments have doses."""
    control_name: str | None = None
    """The name that controls have as their drug, where that is how they are known."""
    combinations: dict[int, Treatment] = field(default_factory=dict)
    """The drugs that are combinations of others: their parts, with doses. Their cells have the dose 1."""
    sign: str | None = None
    """What stands between the names of a combination's parts, or None where no name is one of a combination."""
    described: tuple[str, ...] = ()
    """Drugs that no cell had, known by descriptors; their numbers follow those of `drug_names`."""
    batch_names: tuple[str, ...] = ()
    """The names of the batches, such as donors."""

    @property
    def kind(self) -> str:
        """What a treatment is called in messages."""
        return "drug" if self.dosed else "perturbation"

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

    def controls_of(self, cell_type: int, batch: str) -> Int64[np.ndarray, "m g"]:
        """Return the counts of the controls of a type in a batch, such as a donor.

        Raises:
            UsageError: there are no batches, or none of this name.
            DataError: the batch has no control cell of the type.
        """
        if self.batches is None:
            raise UsageError(
                f"batch = {batch!r} has no meaning here: the model was fitted without batches. Fit it with the column "
                "of batches or donors (`batch`, --batch)."
            )
        number = _number("batch", batch, self.batch_names)
        own = self.control & (self.types == cell_type)
        if not (own & (self.batches == number)).any():
            others = sorted({self.batch_names[b] for b in self.batches[own].tolist()})
            raise DataError(
                f"The batch {batch!r} has no control cell of the type {self.type_names[cell_type]!r}, of which "
                f"predicted cells are made. Batches that have some: {', '.join(map(repr, others[:SHOWN]))}."
            )
        return np.asarray(self.counts[own & (self.batches == number)])

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

    def type_number(self, name: str | None) -> int:
        """Return the number of a type; None is the only one. Raises `UsageError` for one without cells."""
        if name is None and len(self.type_names) == 1:
            return 0
        if name is None:
            raise UsageError(f"cell_type must be given: there are {', '.join(map(repr, self.type_names))}.")
        return _number("cell type", name, self.type_names)

    @property
    def singles(self) -> range:
        """The numbers of drugs that are no combinations."""
        return range(len(self.drug_names) - len(self.combinations))

    def treatment(self, drug: str, dose: Doses | None) -> Treatment:
        """Return the drug or the combination of a name, with its doses; they are 1 where treatments have none.

        Raises `UsageError` for an unknown drug, which is named with the nearest one, and for a dose that is not finite
        or not above 0, is missing, or has no meaning here.
        """
        number = {name: d for d, name in enumerate(self.drug_names) if d in self.singles}
        number |= {name: len(self.drug_names) + i for i, name in enumerate(self.described)}
        parts = (drug,) if drug in number else separate(drug, self.sign, self.control_name)
        for part in parts:
            if part not in number:
                raise unknown_name(self.kind + " with cells or descriptors" * bool(self.described), part, number)
        drugs = tuple(number[part] for part in parts)
        if self.dosed and dose is None:
            tested = self.tested(drugs)
            raise UsageError(f"The dose of {drug!r} must be given, in the units of the training data.{tested}")
        if not self.dosed and dose is not None:
            raise UsageError(
                f"dose = {dose} has no meaning here: the model was fitted without doses, and every treated cell is "
                "taken alike. Leave the dose out, or fit the model with the column of doses."
            )
        return Treatment(drugs, (1.0,) * len(drugs) if dose is None else parse_doses(dose, len(drugs), self.sign))

    @property
    def treatment_names(self) -> list[str]:
        """The names of single drugs and of combinations, without doses, each once."""
        together = (self.name_of(treatment) for treatment in self.combinations.values())
        return list(dict.fromkeys([*(self.drug_names[d] for d in self.singles), *together]))

    def tested(self, drugs: Sequence[int]) -> str:
        """Return a sentence for each drug with the doses at which it was given alone, after a space."""
        found = ((self.name(d), np.unique(self.doses[self.drugs == d])) for d in drugs)
        return "".join(
            f" Tested doses of {name!r} are {', '.join(f'{x:g}' for x in doses)}."
            for name, doses in found
            if len(doses)
        )

    def number_of(self, treatment: Treatment) -> int | None:
        """Return the number of a single drug, or of a combination that cells had at these doses; else None."""
        if len(treatment.drugs) == 1:
            return treatment.drugs[0]
        return next((d for d, own in self.combinations.items() if own.parts == treatment.parts), None)

    def name_of(self, treatment: Treatment) -> str:
        """Return the name of a treatment, without doses."""
        return str(self.sign).join(map(self.name, treatment.drugs))

    def name(self, drug: int) -> str:
        """Return the name of a drug, with cells or without."""
        return (*self.drug_names, *self.described)[drug]


def _number(kind: str, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise unknown_name(kind, name, names)
    return names.index(name)


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
