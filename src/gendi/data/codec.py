"""Codecs translate between raw data and model space: the contract that the codecs of all kinds of data keep.

    rows (N, ...), in the user's units  <-encode, decode->  x (N, *shape), what a network learns

A codec is saved with the model, so that samples always come back in the user's own units. It is saved as plain values
(`to_dict`) and, if it was fitted to data or has weights, as tensors (`tensors`). Encoding and decoding may depend on
the conditions of a row, and decoding may draw at random, for instance a count from a distribution. Such draws are keyed
by the number of the row, so that a sample does not depend on its neighbours.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from gendi.diffusion.conditions import requested_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.errors import UsageError
from gendi.storage.safe_tensors import TensorSpec


class Codec(ABC):
    """Translates between rows of one kind of data and tensors of one shape in model space."""

    kind: ClassVar[str]
    """The name of the codec in a bundle: the name of the kind of data, or that name, a hyphen and a word."""
    once: ClassVar[bool] = False
    """Whether training rows are encoded once and for all; otherwise each batch is encoded anew."""
    value_range: ClassVar[tuple[float, float] | None] = None
    """The least and the greatest value in model space; None if the data have no such bounds."""
    half_bin: ClassVar[float | None] = None
    """Half the distance between neighbouring levels in model space; None if model space is continuous."""
    tokens: int | None = None
    """How many different tokens model space has; None if it is made of numbers."""
    log2_scale: ClassVar[float | None] = None
    """Log2 of |d row / d x|. Bits per dimension in model space plus this number are the bits per dimension of
    dequantised rows. None if it has no meaning."""

    has_rules: bool = False
    """Whether decoded rows can break a rule of the data (`broken`)."""

    @property
    def cache_key(self) -> str | None:
        """A text that decides what `encode` returns of given rows, if the rows of a codec that encodes `once` are worth
        keeping on the disk; None if not."""
        return None

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
        """Map rows (B, ...) to float32 (B, *shape), or to int64 if model space is made of tokens.

        Args:
            rows: in the user's units.
            cond: the conditions of the rows by name.
            index: (B,), the numbers of the rows.
        """

    def draws_of(self, rows: int) -> int:
        """Return how many times each of so many training rows is encoded, if it is encoded `once`.

        It is more than 1 where encoding draws at random and rows are few: a network then sees several draws of each.
        """
        return 1

    def encode_draws(self, rows: Tensor, cond: Mapping[str, Tensor], index: Tensor, draws: int) -> Tensor:
        """Map rows to (draws, B, *shape): what `encode` returns, and then further draws."""
        if draws != 1:
            raise ValueError(f"draws = {draws}: this codec encodes a row in one way.")
        return self.encode(rows, cond, index)[None]

    @abstractmethod
    def decode(self, x: Tensor, cond: Mapping[str, Tensor], seed: int, first: int) -> Tensor:
        """Map x (B, *shape), with conditions by name, to rows (B, ...). Draws for row i are keyed by (seed, first + i).

        Raises:
            DivergedError: x contains NaN, which has no meaning as a row.
        """

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values, "kind" among them. Together with `tensors` they are all that `from_parts` needs."""

    def tensors(self) -> dict[str, Tensor]:
        """Return tensors by name that are too large for JSON, such as weights; none by default."""
        return {}

    @classmethod
    def expected(cls, data: Mapping[str, Any]) -> dict[str, TensorSpec]:
        """Return the shapes and types that `tensors` has for a `to_dict`. Raises `BundleError` naming a bad field."""
        return {}

    @classmethod
    @abstractmethod
    def from_parts(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """Return the codec that `to_dict` and `tensors` describe. Raises `BundleError` naming a bad field."""

    def misfit(self, schema: Any, ours: Sequence[ConditionConfig], theirs: Sequence[ConditionConfig]) -> str:
        """Return a sentence that says why this codec cannot encode other raw data; empty if it can.

        Args:
            schema: the schema of the other data.
            ours: the conditions of the other data.
            theirs: the conditions of the data that the codec was fitted to.
        """
        return ""

    def point_posterior(self) -> nn.Module | None:
        """Return what a denoiser needs to know of points in model space; None if it has none.

        See `gendi.diffusion.gaussian.points`.
        """
        return None

    def steady(self) -> tuple[Tensor, Sequence[int]] | None:
        """Return coordinates of a row in which noise on training rows leaves some as they are, and which these are.

        They are z = x A for A (D, D), of full rank. Return None if noise can be added to all of x.
        """
        return None

    def infilled(self, pattern: str) -> Tensor:
        """Return the parts of a sample that a pattern gives, (*shape), as the family of the model takes them.

        Raises `UsageError` for a pattern that does not fit, and for data of which no parts can be given in words.
        """
        raise UsageError(f"an infill pattern is for sequences, and this model draws {self.description}.")

    def with_profiles(self, profiles: str) -> Self:
        """Return this codec with another way to draw the profiles of classes.

        Raises `UsageError` for data whose classes have none.
        """
        raise UsageError(f"profiles are for cells, by the copula, and this model draws {self.description}.")

    def broken(self, rows: Tensor) -> Tensor:
        """Return which decoded rows (B, ...) break a rule of the data, (B,); others are drawn in their place."""
        return torch.zeros(len(rows), dtype=torch.bool)

    def mismatch(self, other: "Codec") -> str:
        """Return a sentence that says why data that have the codec `other` are not for a model with this one.

        It is empty if they are, or if nothing can be said.
        """
        return ""

    def for_rows(self, cond: Mapping[str, Tensor]) -> Self:
        """Return this codec for other training rows, whose conditions by name are `cond`."""
        return self

    def draw_conditions(
        self, specs: Sequence[ConditionConfig], requested: Mapping[str, Any] | None, n: int, seed: int, first: int = 0
    ) -> dict[str, Tensor]:
        """Return the conditions of n samples, read from the `requested` values as `gendi.diffusion.conditions` says.

        If no values are requested, the samples take the classes in turn, from sample number `first` on. Other
        conditions that are not requested are null.

        Raises:
            UsageError: a condition that the model does not know, or a value that does not fit it.
        """
        return requested_conditions(specs, requested, n, first)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or self.to_dict() != other.to_dict():
            return False
        ours, theirs = self.tensors(), other.tensors()
        return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)

    __hash__ = None  # type: ignore[assignment]
