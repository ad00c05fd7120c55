"""`Data`: rows that are ready for training and for evaluation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.split import Skipped, Split, class_names
from gendi.diffusion.config import ConditionConfig
from gendi.machine.tables import html_card

SHOWN = 24
"""How many rows a notebook shows, from all over the training data, so that each class has its share."""


@dataclass(frozen=True, eq=False)
class Data:
    """Rows that are ready for training and for evaluation.

    `heldout` is the data's own test set. Data without one hold out 5% of the images (at least 1, at most 1000), or 20%
    of the rows of cells and tables; the random stream depends on nothing else, so every run holds out the same rows.
    `conditions` are what a network can be given about each row, and `left_out` names what it cannot be given, with the
    reasons. `fingerprint` is the SHA-256 of both parts (`gendi.data.split.fingerprint`).

    The codec of pictures is known at once. The codec of other kinds is None until `gendi.data.prepare.prepare` has
    fitted it. `kind` is the name of the kind of data (`gendi.data.kinds`), and `schema` is what its reader knows of the
    rows. `encoded` says whether the rows are in model space already.
    """

    name: str
    spec: str
    train: Split
    heldout: Split
    conditions: tuple[ConditionConfig, ...]
    fingerprint: str
    codec: Codec | None
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    kind: str = field(kw_only=True)
    schema: Any = None
    encoded: bool = False
    forms: int = 1
    """How many rows of `train` stand for one row of the data: mirror images, and further draws of a row in model space.
    Row i of the data has the rows i, i + N, i + 2 N, ..."""
    split_by: str = ""
    """The column whose groups are held out whole; empty for a random split of the rows."""
    preview: Callable[[NDArray[Any]], bytes] | None = None
    """Makes a PNG file of some rows; None for kinds of data that have no previews."""

    @property
    def fitted(self) -> Codec:
        """The codec of the data. Raises `ValueError` if it is not fitted yet."""
        if self.codec is None:
            raise ValueError(f"the codec of {self.name} is not fitted yet: see gendi.data.prepare")
        return self.codec

    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Map a batch of rows, with their conditions by name and their numbers, to model space."""
        return rows if self.encoded else self.fitted.encode(rows, cond, index)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; empty when there are no labels."""
        return class_names(self.conditions)

    def __repr__(self) -> str:
        facts = self._facts()
        return f"Data({self.name}: " + ", ".join(f"{name}: {value}" for name, value in facts.items()) + ")"

    def remarks(self) -> tuple[str, ...]:
        """Return what a user should know of the data: the notes, and what was passed over and why."""
        return (*self.notes, *(f"skipped {each.path}: {each.reason}" for each in self.skipped))

    def _repr_html_(self) -> str:
        picture = None
        if self.preview is not None and not self.encoded:
            rows = np.linspace(0, len(self.train) - 1, min(SHOWN, len(self.train))).astype(np.int64)
            picture = self.preview(self.train.batch(rows))
        return html_card(f"Data: {self.name}", self._facts(), picture)

    def _facts(self) -> dict[str, str]:
        facts = {
            "kind": self.kind,
            "for training": f"{len(self.train):,}",
            "held out": f"{len(self.heldout):,}",
            "each": self.codec.description if self.codec else f"of shape {tuple(self.train.rows.shape[1:])}",
            "conditions": "; ".join(spec.in_words() for spec in self.conditions) or "none",
        }
        return facts | ({"files passed over": f"{len(self.skipped):,}"} if self.skipped else {})
