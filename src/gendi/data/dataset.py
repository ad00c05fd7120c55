"""`Data`: rows ready to train on and to measure against."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from gendi.data.codec import Codec
from gendi.data.split import Skipped, Split, class_names
from gendi.diffusion.config import ConditionConfig


@dataclass(frozen=True, eq=False)
class Data:
    """Rows ready to train on and to measure against.

    `heldout` is the data's own test set, or 5% of the images (at least 1, at most 1000), of cells and tables 20%, drawn
    by a stream that depends on nothing else, so that every run holds out the same ones. `conditions` says what is known
    of each row and can be told to a network, `left_out` what cannot and why. `fingerprint` is the SHA-256 of both parts
    (`gendi.data.split.fingerprint`).

    The codec of pictures is known at once; that of other kinds is fitted by `gendi.data.prepare.prepare`, and is None
    before. `kind` is the name of the kind of data (`gendi.data.kinds`), `schema` what its reader knows of the rows.
    `encoded`: the rows are in model space already.
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

    @property
    def fitted(self) -> Codec:
        """The codec of data that have one. Raises `ValueError` before it is fitted."""
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
