"""What the codecs of data that are not pictures share: cells and tables, whose rows become vectors in model space.

    rows (N, G), in the user's units  <-encode, decode->  x (N, D), what a network learns

Unlike a picture's, such a codec is fitted to the training rows and remembers their conditions, so that the conditions
of samples can be drawn as in training.
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
"""Added to the numbers of held-out rows, so that nothing is drawn for them as for a training row."""


class VectorCodec(Codec):
    """Rows (N, G) <-> vectors (N, D), for rows of one kind."""

    half_bin: ClassVar[None] = None
    """Vectors in model space are continuous: no bins."""
    told: Mapping[str, Tensor]
    """The conditions of the training rows by name, for `draw_conditions`."""

    def for_rows(self, told: Mapping[str, Tensor]) -> Self:
        """Return this codec for other training rows, whose conditions `told` are (see `training_conditions`)."""
        codec = copy.copy(self)
        codec.told = dict(told)
        return codec

    def draw_conditions(
        self, specs: Sequence[ConditionConfig], asked: Mapping[str, Any] | None, n: int, seed: int, first: int = 0
    ) -> dict[str, Tensor]:
        """Return the conditions of n samples: those `asked` for, read as `requested_conditions` does, and the rest as
        in training.

        Conditions that nobody asked for come together from one training row each, drawn for sample i by the key
        (seed, first + i) among the rows of the classes that were asked for, or among all if there is no such row. What
        was asked to be null stays null.

        Raises:
            UsageError: a condition that the model does not know, or a value that does not fit it.
        """
        given = requested_conditions(specs, asked, n) if asked else {}
        rest = [spec.name for spec in specs if spec.name not in (asked or {})]
        if not rest or not len(next(iter(self.told.values()), ())):
            return given
        classes = [spec.name for spec in specs if spec.kind == "class" and spec.name in given]
        wanted = torch.stack([given[name] for name in classes], 1) if classes else torch.full((n, 1), -1)
        rows = torch.empty(n, dtype=torch.int64)
        u = torch.tensor([stream(seed, "conditions", index=first + i).random() for i in range(n)], dtype=torch.float64)
        for asked_for in torch.unique(wanted, dim=0):
            mine = (wanted == asked_for).all(1)
            candidates = self._rows_of({name: int(k) for name, k in zip(classes, asked_for, strict=False) if k >= 0})
            rows[mine] = candidates[(u[mine] * len(candidates)).long()]
        return given | {name: self.told[name][rows] for name in rest}

    def _rows_of(self, classes: Mapping[str, int]) -> Tensor:
        """Return the numbers of the training rows of these classes; of all rows if there is none."""
        n = len(next(iter(self.told.values())))
        found = torch.ones(n, dtype=torch.bool)
        for name, k in classes.items():
            found &= self.told[name] == k
        return found.nonzero()[:, 0] if bool(found.any()) else torch.arange(n)


def class_condition(specs: Sequence[ConditionConfig], cond: Mapping[str, Tensor]) -> Tensor | None:
    """Return the first condition of the kind `class` (B,), -1 where it is null, or None if there is none."""
    for spec in specs:
        if spec.kind == "class" and spec.name in cond:
            return torch.where(is_null(cond[spec.name]), -1, cond[spec.name])
    return None


def training_conditions(specs: Sequence[ConditionConfig], conditions: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return what is told of training rows as tensors, by name: `told` of a codec, but for pictures."""
    kept = [spec for spec in specs if spec.kind != "image"]
    return {
        spec.name: torch.from_numpy(
            np.ascontiguousarray(conditions[spec.name], np.int64 if spec.kind == "class" else np.float32)
        )
        for spec in kept
    }
