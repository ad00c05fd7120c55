"""The only place where raw data meet model space: one contract for the codecs of all kinds of data.

    rows (N, ...), in the user's units  <-encode, decode->  x (N, *shape), what a network learns

A codec is saved with the model, so that a sample always comes back in the user's own units: as plain values
(`to_dict`) and, where it was fitted to data or has weights, as tensors (`tensors`). It may depend on the conditions of
a row, and on its way out it may draw, as a count is drawn from a distribution. What it draws is keyed by the number of
the row, so that a sample does not depend on its neighbours.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gendi.diffusion.conditions import requested_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.storage.safe_tensors import TensorSpec


class Codec(ABC):
    """Rows of one kind of data <-> tensors of one shape in model space."""

    kind: ClassVar[str]
    """Its name in a bundle: the name of the kind of data, or that name, a hyphen and a word."""
    once: ClassVar[bool] = False
    """Whether training rows are encoded once and for all; otherwise each batch is encoded anew."""
    value_range: ClassVar[tuple[float, float] | None] = None
    """The least and the greatest value in model space, where data have such bounds."""
    half_bin: ClassVar[float | None] = None
    """Half the distance between neighbouring levels in model space; None where model space is continuous."""
    log2_scale: ClassVar[float | None] = None
    """Log2 of |d row / d x|: added to bits per dimension in model space, it gives those of dequantised rows. None where
    it has no meaning."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of a row in model space, with any number of axes."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width that pictures must be brought to; None for data that have no such size."""
        return None

    @property
    def description(self) -> str:
        """What a row in model space is, in a few words."""
        return f"{' x '.join(map(str, self.shape))} numbers in model space ({self.kind})"

    @abstractmethod
    def encode(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor) -> Tensor:
        """Map rows (B, ...) to float32 (B, *shape); `cond` are their conditions by name, `index` (B,) their numbers."""

    @abstractmethod
    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        """Map x (B, *shape) to rows (B, ...); what is drawn for row i is keyed by (seed, first + i).

        Raises:
            DivergedError: NaN, which no row can stand for.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, "kind" among them; with `tensors` all that `from_parts` needs."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what is too large for JSON, weights for instance, by name; nothing by default."""
        return {}

    @classmethod
    def expected(cls, data: Mapping[str, Any]) -> dict[str, TensorSpec]:
        """Return the shapes and types of `tensors` for a `to_dict`. Raises `BundleError` naming a field that is bad."""
        return {}

    @classmethod
    @abstractmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Return the codec that `to_dict` and `tensors` described. Raises `BundleError` naming a field that is bad."""

    def misfit(self, schema: Any, ours: Sequence[ConditionConfig], theirs: Sequence[ConditionConfig]) -> str:
        """Return why other raw data cannot be encoded by this codec, a sentence; empty if they can.

        Args:
            schema: of the other data.
            ours: the conditions of the other data.
            theirs: the conditions of the data that the codec was fitted to.
        """
        return ""

    def for_rows(self, told: Mapping[str, Tensor]) -> Self:
        """Return this codec for other training rows, whose conditions by name are `told`."""
        return self

    def draw_conditions(
        self, specs: Sequence[ConditionConfig], asked: Mapping[str, Any] | None, n: int, seed: int, first: int = 0
    ) -> dict[str, Tensor]:
        """Return the conditions of n samples from the requested ones, as `gendi.diffusion.conditions` reads them.

        If none is requested, classes come in turn from sample `first` on; what is not requested is null.

        Raises:
            UsageError: a condition that the model does not know, or a value that does not fit it.
        """
        return requested_conditions(specs, asked, n, first)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or self.to_dict() != other.to_dict():
            return False
        ours, theirs = self.tensors(), other.tensors()
        return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)

    __hash__ = None  # type: ignore[assignment]
