"""What was done to a cell: one drug at a dose, or several together, each at its own dose.

A combination is written with a sign between the names of its parts, as in "A+B". Its doses are one number for all
parts, or numbers with the same sign between them, in the same order: "1+0.5".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from gendi.errors import UsageError

Doses = float | str | Sequence[float] | Sequence[str]
"""The dose of a drug, or those of the parts of a combination."""


@dataclass(frozen=True)
class Treatment:
    """The numbers of the drugs (k,) that were given together, in the order in which they are written, and their doses.

    A single drug is a treatment with k = 1.
    """

    drugs: tuple[int, ...]
    doses: tuple[float, ...]

    @property
    def parts(self) -> tuple[tuple[int, float], ...]:
        """Drugs and their doses, sorted by drug: the same whatever the order in which they were written."""
        return tuple(sorted(zip(self.drugs, self.doses, strict=True)))

    @property
    def members(self) -> tuple[int, ...]:
        """The drugs, sorted."""
        return tuple(sorted(self.drugs))

    @property
    def ordered_doses(self) -> tuple[float, ...]:
        """The doses, in the order of `members`."""
        return tuple(x for _, x in self.parts)

    def pairs(self) -> list["Treatment"]:
        """Return every two of three or more parts; none for a pair or a single drug."""
        found = [] if len(self.drugs) < 3 else list(combinations(self.parts, 2))
        return [Treatment((a[0], b[0]), (a[1], b[1])) for a, b in found]


def separate(name: str, sign: str | None, control: str | None) -> tuple[str, ...]:
    """Return the parts of a name; the name itself where it is not two or more names with a sign between them.

    The name of the controls is no part: "KLF1+ctrl" is "KLF1".
    """
    kept = tuple(dict.fromkeys(part for part in _written(name, sign) if part != control))
    return kept or (name,)


def _written(name: str, sign: str | None) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in name.split(sign)) if sign else (name,)
    return parts if all(parts) else (name,)


def parse_doses(dose: Doses, parts: int, sign: str | None) -> tuple[float, ...]:
    """Return the dose of each of `parts` drugs, all of them finite and above 0.

    Raises `UsageError` for anything else, and for another number of doses than one or `parts`.
    """
    words: list[str | float] = [dose] if isinstance(dose, str | int | float) else list(dose)
    if isinstance(dose, str) and sign and not _is_number(dose):
        words = list(split_doses(dose, sign))
    if not all(_is_number(word) for word in words):
        raise UsageError(f"dose = {dose!r} is no number{_example(parts, sign)}.")
    doses = tuple(checked_dose(float(word)) for word in words)
    if len(doses) not in (1, parts):
        raise UsageError(f"dose = {dose!r} has {len(doses)} numbers for {parts} drugs{_example(parts, sign)}.")
    return doses * parts if len(doses) == 1 else doses


def split_doses(text: str, sign: str) -> list[str]:
    """Return the words between signs; the sign in a number such as 1e+06 is none."""
    return re.split(rf"(?<![0-9][eE]){re.escape(sign)}", text)


def checked_dose(dose: float) -> float:
    """Return the dose as a float. Raises `UsageError` unless it is finite and above 0."""
    if not (np.isfinite(dose) and dose > 0):
        raise UsageError(f"dose = {dose} must be a finite number above 0, in the units of the training data.")
    return float(dose)


def spelled(doses: Sequence[float], sign: str) -> str:
    """Return doses as they are written: one number where all are the same."""
    return sign.join(f"{x:g}" for x in (doses[:1] if len(set(doses)) == 1 else doses))


def numbered(
    names: Sequence[str], doses: Sequence[Doses | None], sign: str | None, control: str | None
) -> tuple[tuple[str, ...], dict[int, Treatment], NDArray[np.int64], NDArray[np.float64]]:
    """Return the names of treatments, which of them are combinations, and the number and dose of each row.

    Single drugs come first, in alphabetical order, also those that are given in combinations only. A combination is a
    treatment of its own at each of its doses, and its rows have the dose 1.

    Args:
        names: of each row.
        doses: of each row, or None where treatments have none.
        sign, control: see `separate`.

    Raises `UsageError` for doses that are none.
    """
    parts = [separate(name, sign, control) for name in names]
    singles = sorted({part for each in parts for part in each})
    number = {name: i for i, name in enumerate(singles)}
    labels, found = list(singles), dict[tuple[tuple[int, float], ...], int]()
    together: dict[int, Treatment] = {}
    codes, at = np.zeros(len(names), np.int64), np.ones(len(names))
    for i, (name, each, dose) in enumerate(zip(names, parts, doses, strict=True)):
        given = (1.0,) * len(each) if dose is None else parse_doses(_own(dose, name, each, sign), len(each), sign)
        treatment = Treatment(tuple(number[part] for part in each), given)
        if len(each) == 1:
            codes[i], at[i] = treatment.drugs[0], treatment.doses[0]
            continue
        if treatment.parts not in found:
            found[treatment.parts] = len(labels)
            together[len(labels)] = treatment
            label = str(sign).join(each)
            labels.append(label if dose is None else f"{label} at {spelled(treatment.doses, str(sign))}")
        codes[i] = found[treatment.parts]
    return tuple(labels), together, codes, at


def _own(dose: Doses, name: str, parts: tuple[str, ...], sign: str | None) -> Doses:
    """Return doses without those of controls, which `parts` are without."""
    words = split_doses(dose, sign) if isinstance(dose, str) and sign else []
    written = _written(name, sign)
    if len(words) != len(written):
        return dose
    return [word for part, word in zip(written, words, strict=True) if part in parts]


def _is_number(word: str | float) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _example(parts: int, sign: str | None) -> str:
    if parts < 2 or not sign:
        return ""
    return f'; write one number for all, or one for each, such as "{sign.join(["1"] * parts)}"'
