"""Classes of samples in the proportions of the training rows, for measuring a model of data with unequal classes.

Classes that come in turn are another mixture than such data, and colours and distances see the difference although
nothing is wrong with the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gendi.data.dataset import Data
from gendi.diffusion.config import ConditionConfig

UNEQUAL = 0.1
"""How far the shares of the classes may be from equal ones (half the sum of absolute differences) for classes in turn
to be the same mixture."""


@dataclass(frozen=True)
class Proportions:
    """The combinations of classes that rows have, and how often each occurs."""

    names: tuple[str, ...]
    """The conditions of the kind `class`."""
    classes: tuple[tuple[int, ...], ...]
    """Combinations: a class of each condition, or -1 where the rows do not say it."""
    counts: tuple[int, ...]
    """Rows of each combination, at least 1."""

    @classmethod
    def of(cls, specs: Sequence[ConditionConfig], data: Data) -> Self | None:
        """Return the proportions of the training rows of `data`, for a model that knows the conditions `specs`.

        The result is None if the classes may as well come in turn, because there is one condition with classes that
        are about equally frequent (`UNEQUAL`); or if the model has no classes, or other ones than the data.
        """
        ours = tuple(spec for spec in specs if spec.kind == "class")
        known = {(spec.name, spec.kind, spec.size, spec.names) for spec in data.conditions}
        if not ours or not {(spec.name, spec.kind, spec.size, spec.names) for spec in ours} <= known:
            return None
        rows = np.stack([data.train.conditions[spec.name] for spec in ours], axis=1)
        found, counts = np.unique(rows, axis=0, return_counts=True)
        if len(ours) == 1:
            equal = np.zeros(len(found))
            equal[found[:, 0] >= 0] = 1 / ours[0].size
            missed = 1 - equal.sum()  # classes without a row, whose turn would come too
            if (np.abs(counts / counts.sum() - equal).sum() + missed) / 2 <= UNEQUAL:
                return None
        names = tuple(spec.name for spec in ours)
        return cls(names, tuple(tuple(row) for row in found.tolist()), tuple(counts.tolist()))

    def values(self, indices: range) -> dict[str, NDArray[np.int64]]:
        """Return by name the classes (n,) of the samples with the numbers `indices`.

        They depend on the number of a sample alone. Of any first samples, each combination has its share as nearly as
        whole numbers allow, and there is no chance in it: its sample a = 0, 1, ... of c rows is due at (a + 1/2) / c of
        a round in which every row comes once, and all are sorted by that. [the divisor method of Webster and
        Sainte-Lague, which never takes back what it gave to fewer samples]
        """
        due = np.concatenate([(2 * np.arange(count) + 1) / count for count in self.counts])
        turn = np.repeat(np.arange(len(self.counts)), self.counts)[np.argsort(due, kind="stable")]
        numbers = np.arange(indices.start, indices.stop, dtype=np.int64) % len(turn)
        chosen = np.array(self.classes, np.int64)[turn[numbers]]
        return {name: np.ascontiguousarray(chosen[:, i]) for i, name in enumerate(self.names)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as JSON has them."""
        return {"names": list(self.names), "classes": [list(row) for row in self.classes], "counts": list(self.counts)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Read what `to_dict` wrote and `fits` accepts."""
        return cls(tuple(data["names"]), tuple(tuple(row) for row in data["classes"]), tuple(data["counts"]))

    def in_words(self) -> str:
        """Return the sentence that an evaluation says about the classes of its samples."""
        what = "classes" if len(self.names) == 1 else f"combinations of {' and '.join(self.names)}"
        return (
            f"The {what} of the samples come in the proportions of the training images, which have from "
            f"{min(self.counts):,} to {max(self.counts):,} of each."
        )


def fits(value: object) -> bool:
    """Return whether a value of a JSON file is what `Proportions.to_dict` writes."""
    if not isinstance(value, dict) or value.keys() != {"names", "classes", "counts"}:
        return False
    names, classes, counts = value["names"], value["classes"], value["counts"]
    return (
        all(isinstance(part, list) and part for part in (names, classes, counts))
        and all(isinstance(name, str) for name in names)
        and all(isinstance(row, list) and len(row) == len(names) for row in classes)
        and all(type(number) is int and -1 <= number < 2**31 for row in classes for number in row)
        and len(classes) == len(counts)
        and all(type(count) is int and count >= 1 for count in counts)
        and sum(counts) <= 10**9
    )
