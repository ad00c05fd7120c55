"""The base class of codecs for data such as cells and tables, whose rows become vectors in model space.

    rows (N, G), in the user's units  <-encode, decode->  x (N, D), what a network learns

Unlike the codec of pictures, such a codec is fitted to the training rows. It remembers their conditions, so that the
conditions of samples can be drawn as they occur in training.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from gendi.data.codec import Codec
from gendi.diffusion.conditions import is_null, requested_conditions
from gendi.diffusion.config import ConditionConfig
from gendi.diffusion.randomness import stream

HELD_OUT = 1 << 40
"""Added to the numbers of held-out rows, so that random draws for them differ from those for training rows."""


class VectorCodec(Codec):
    """Translates between rows (N, G) of one kind and vectors (N, D) in model space."""

    half_bin: ClassVar[None] = None
    """None, because vectors in model space are continuous."""
    training_conditions: Mapping[str, Tensor]
    """The conditions of the training rows by name, for `draw_conditions`."""

    def for_rows(self, cond: Mapping[str, Tensor]) -> Self:
        """Return this codec for other training rows, whose conditions are `cond` (see `training_conditions`)."""
        codec = copy.copy(self)
        codec.training_conditions = dict(cond)
        return codec

    def draw_conditions(
        self, specs: Sequence[ConditionConfig], requested: Mapping[str, Any] | None, n: int, seed: int, first: int = 0
    ) -> dict[str, Tensor]:
        """Return the conditions of n samples: the `requested` ones as requested, and the others as in training.

        Requested values are read by `requested_conditions`; a condition that is requested to be null is null. For each
        sample, all other conditions are taken from one training row. This row is drawn among the rows of the requested
        classes, or among all rows if there is no such row; the draw for sample i is keyed by (seed, first + i).

        Raises:
            UsageError: a condition that the model does not know, or a value that does not fit it.
        """
        given = requested_conditions(specs, requested, n) if requested else {}
        rest = [spec.name for spec in specs if spec.name not in (requested or {})]
        if not rest or not len(next(iter(self.training_conditions.values()), ())):
            return given
        classes = [spec.name for spec in specs if spec.kind == "class" and spec.name in given]
        labels = torch.stack([given[name] for name in classes], 1) if classes else torch.full((n, 1), -1)
        rows = torch.empty(n, dtype=torch.int64)
        u = torch.tensor([stream(seed, "conditions", index=first + i).random() for i in range(n)], dtype=torch.float64)
        for combination in torch.unique(labels, dim=0):
            mine = (labels == combination).all(1)
            candidates = self._rows_of({name: int(k) for name, k in zip(classes, combination, strict=False) if k >= 0})
            rows[mine] = candidates[(u[mine] * len(candidates)).long()]
        return given | {name: self.training_conditions[name][rows] for name in rest}

    def _rows_of(self, classes: Mapping[str, int]) -> Tensor:
        """Return the numbers of the training rows of these classes, or of all training rows if there are none."""
        n = len(next(iter(self.training_conditions.values())))
        found = torch.ones(n, dtype=torch.bool)
        for name, k in classes.items():
            found &= self.training_conditions[name] == k
        return found.nonzero()[:, 0] if bool(found.any()) else torch.arange(n)


def class_condition(specs: Sequence[ConditionConfig], cond: Mapping[str, Tensor]) -> Tensor | None:
    """Return the first condition of the kind `class` (B,), -1 where it is null, or None if there is none."""
    for spec in specs:
        if spec.kind == "class" and spec.name in cond:
            return torch.where(is_null(cond[spec.name]), -1, cond[spec.name])
    return None


def training_conditions(specs: Sequence[ConditionConfig], conditions: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the conditions of training rows by name as tensors, without pictures: `training_conditions` of a codec."""
    kept = [spec for spec in specs if spec.kind != "image"]
    return {
        spec.name: torch.from_numpy(
            np.ascontiguousarray(conditions[spec.name], np.int64 if spec.kind == "class" else np.float32)
        )
        for spec in kept
    }
