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

from gendi.data.cells.perturbation.treatment import Doses, Treatment, parse_doses, separate
from gendi.errors import DataError, UsageError, unknown_name

CONTROL = -1
"""The drug of a control cell."""
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
